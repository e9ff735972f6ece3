#include "common/rpc/error.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "common/base/strings.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace weir::rpc {
namespace {

constexpr size_t kMaxMessageLength = 1024;
constexpr size_t kMaxDetailsLength = 4096;

// A payload's type URL is also that of the google.protobuf.Any on the wire.
template <typename Detail>
std::string TypeUrl() {
  return StrCat("type.googleapis.com/", Detail::descriptor()->full_name());
}

template <typename Detail>
std::optional<Detail> Get(const absl::Status& status) {
  const auto payload = status.GetPayload(TypeUrl<Detail>());
  if (!payload.has_value()) return std::nullopt;
  Detail detail;
  if (!detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

template <typename Detail>
void Set(const Detail& detail, absl::Status* status) {
  status->SetPayload(TypeUrl<Detail>(), absl::Cord(detail.SerializeAsString()));
}

void SetErrorInfo(v1::ErrorReason reason, ErrorMetadata metadata, absl::Status* status) {
  google::rpc::ErrorInfo info;
  info.set_reason(v1::ErrorReason_Name(reason));
  info.set_domain(std::string(kErrorDomain));
  for (auto& [key, value] : metadata) (*info.mutable_metadata())[key] = std::move(value);
  Set(info, status);
}

std::optional<v1::ErrorReason> ReasonForCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
      return v1::STORE_UNAVAILABLE;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return v1::INVALID_FIELD;
    case absl::StatusCode::kResourceExhausted:
      return v1::OVERLOADED;
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnimplemented:
      return std::nullopt;
    default:
      return v1::INTERNAL_BUG;
  }
}

// Cuts at a character's first byte, so that what remains is UTF-8 if it was.
std::string Cut(std::string_view text, size_t length) {
  if (text.size() <= length) return std::string(text);
  while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) --length;
  return std::string(text.substr(0, length));
}

// The length of the UTF-8 character that `text` begins with; 0 for none.
size_t CharacterLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const size_t length = first < 0x80                     ? 1
                        : first >= 0xc2 && first <= 0xdf ? 2
                        : first >= 0xe0 && first <= 0xef ? 3
                        : first >= 0xf0 && first <= 0xf4 ? 4
                                                         : 0;
  if (length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (length > 2) {
    const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
    const bool surrogate = first == 0xed && byte(1) >= 0xa0;
    const bool beyond = first == 0xf4 && byte(1) >= 0x90;
    if (overlong || surrogate || beyond) return 0;
  }
  return length;
}

// A message may quote what a client sent; protobuf's strings are UTF-8 only.
std::string ToUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    if (length == 0) {
      out.push_back('?');
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

}  // namespace

absl::Status Error(absl::StatusCode code, v1::ErrorReason reason, std::string_view message,
                   ErrorMetadata metadata) {
  WEIR_CHECK(code != absl::StatusCode::kOk);
  WEIR_CHECK(reason != v1::ERROR_REASON_UNSPECIFIED);
  absl::Status status(code, AbslView(message));
  SetErrorInfo(reason, std::move(metadata), &status);
  return status;
}

absl::Status InvalidField(std::string_view field, std::string_view description) {
  return WithFieldViolation(
      Error(absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD, StrCat(field, ": ", description),
            {{"field", std::string(field)}}),
      field, description);
}

absl::Status WithRetryDelay(absl::Status status, absl::Duration delay) {
  if (status.ok()) return status;
  google::rpc::RetryInfo info;
  const int64_t nanos = std::max<int64_t>(absl::ToInt64Nanoseconds(delay), 0);
  info.mutable_retry_delay()->set_seconds(nanos / 1'000'000'000);
  info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  Set(info, &status);
  return status;
}

absl::Status WithFieldViolation(absl::Status status, std::string_view field,
                                std::string_view description) {
  if (status.ok()) return status;
  auto request = Get<google::rpc::BadRequest>(status).value_or(google::rpc::BadRequest());
  auto* violation = request.add_field_violations();
  violation->set_field(std::string(field));
  violation->set_description(std::string(description));
  Set(request, &status);
  return status;
}

std::optional<v1::ErrorReason> ReasonOf(const absl::Status& status) {
  const auto info = Get<google::rpc::ErrorInfo>(status);
  if (!info.has_value() || info->domain() != kErrorDomain) return std::nullopt;
  v1::ErrorReason reason;
  if (!v1::ErrorReason_Parse(info->reason(), &reason)) return std::nullopt;
  return reason;
}

std::optional<absl::Duration> RetryDelayOf(const absl::Status& status) {
  const auto info = Get<google::rpc::RetryInfo>(status);
  if (!info.has_value()) return std::nullopt;
  return absl::Seconds(info->retry_delay().seconds()) +
         absl::Nanoseconds(info->retry_delay().nanos());
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  absl::Status labelled = status;
  if (!Get<google::rpc::ErrorInfo>(labelled).has_value()) {
    if (const auto reason = ReasonForCode(status.code())) SetErrorInfo(*reason, {}, &labelled);
  }
  google::rpc::Status wire;
  wire.set_code(static_cast<int>(labelled.code()));
  wire.set_message(ToUtf8(Cut(StdView(labelled.message()), kMaxMessageLength)));
  // ErrorInfo is what clients branch on: it goes in first, so that it is not
  // the one left out.
  size_t length = wire.message().size();
  const auto add = [&](absl::string_view type_url, const absl::Cord& payload) {
    if (length + type_url.size() + payload.size() > kMaxDetailsLength) return;
    length += type_url.size() + payload.size();
    auto* detail = wire.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(payload));
  };
  const std::string info_url = TypeUrl<google::rpc::ErrorInfo>();
  labelled.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    if (type_url == info_url) add(type_url, payload);
  });
  labelled.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    if (type_url != info_url) add(type_url, payload);
  });
  return grpc::Status(static_cast<grpc::StatusCode>(labelled.code()), wire.message(),
                      wire.SerializeAsString());
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status wire;
  if (wire.ParseFromString(status.error_details())) {
    for (const auto& detail : wire.details()) {
      result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
    }
  }
  return result;
}

}  // namespace weir::rpc
