// Prometheus' native histograms as histograms of ours.
//
//   schema -4 to 8   exponential buckets of that scale; bucket i of Prometheus covers
//                    (base^(i-1), base^i], which is our bucket i - 1
//   schema -53       explicit bounds: custom_values
//
// Only buckets that have counts are sent, in spans, so a few bytes can stand for many
// buckets. Where they are too many for one histogram, neighbours are joined, two by
// two, until they fit: counts stay exact.
//
// Thread safety: pure functions.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/point/point.h"
#include "prometheus/write_v1.pb.h"
#include "prometheus/write_v2.pb.h"

namespace weir::collector {

// Everything but what ValidateHistogram checks. Without a sum when that is no number;
// observations that were none are then left out of the count, as they are in no bucket.
// Errors: InvalidArgument, which goes on after "a histogram has ".
absl::StatusOr<Histogram> ToHistogram(const prometheus::Histogram& sent);
absl::StatusOr<Histogram> ToHistogram(const io::prometheus::write::v2::Histogram& sent);

// At least what a point with it takes in bytes; much more than was sent when its buckets
// lie far apart.
int64_t PointBytesOf(const prometheus::Histogram& sent);
int64_t PointBytesOf(const io::prometheus::write::v2::Histogram& sent);

}  // namespace weir::collector
