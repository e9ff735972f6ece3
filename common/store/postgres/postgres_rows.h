// How rows look in PostgreSQL: arrays as parameters, ids as uuid, queries that
// a writer and a snapshot share.
//
// Thread safety: functions are called by one thread per session.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/store/postgres/session.h"
#include "common/store/store.h"

namespace weir::store {

inline std::string_view TextOf(const pqxx::field& field) {
  return {field.c_str(), static_cast<size_t>(field.size())};
}

// Numbers as the server writes them; from_chars also reads "NaN" and "Infinity".
template <typename T>
absl::Status Parse(const pqxx::field& field, T* value) {
  const std::string_view text = TextOf(field);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return absl::InternalError(absl::StrCat("postgres: not a number: ", std::string(text)));
  }
  return absl::OkStatus();
}

// An array literal for one parameter: {1,2,3}.
class ArrayText {
 public:
  void Add(int64_t value) { absl::StrAppend(&Next(), value); }
  void Add(std::string_view text);        // quoted and escaped
  void AddBytes(std::string_view bytes);  // as a bytea in hex
  std::string Take() { return std::move(text_.append("}")); }

 private:
  std::string& Next() { return text_.append(text_.size() > 1 ? "," : ""); }
  std::string text_ = "{";
};

template <typename Values>
std::string ArrayOf(const Values& values) {
  ArrayText array;
  for (const auto& value : values) array.Add(value);
  return array.Take();
}

// The id behind a uuid as the server writes it (8-4-4-4-12 digits).
template <typename Id>
absl::StatusOr<Id> IdOfUuid(std::string_view uuid) {
  std::string hex;
  for (const char c : uuid) {
    if (c != '-') hex += c;
  }
  return Id::FromHex(hex);
}

// Every slot's state, ascending.
absl::StatusOr<std::vector<SlotState>> ReadAllSlots(Session* session, int tier_count);
// Every watermark, ascending by slot, then WAL.
absl::StatusOr<std::vector<Watermark>> ReadAllWatermarks(Session* session);
// Per tier, Unix seconds.
absl::StatusOr<std::vector<int64_t>> ReadFloors(Session* session, const char* locking = "");
// Of all indicators together.
absl::StatusOr<int64_t> ReadIndicatorSetVersion(Session* session, const char* locking = "");

}  // namespace weir::store
