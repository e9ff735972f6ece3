// An e-mail: an RFC 5322 message in UTF-8, ready for SMTP.
//
// Lines end in CRLF and have at most 76 characters, but for addresses; all of it
// is ASCII, the subject as encoded words (RFC 2047), the body as quoted-printable. What comes
// from outside (an alert's texts) cannot become a header: control characters in
// the subject are spaces, addresses with any are refused. Dots at the start of
// lines are left as they are: libcurl doubles them.
//
// Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/alerting/notice.h"

namespace weir::alerting {

struct EmailEnvelope {
  std::string from;
  std::vector<std::string> to;  // at least one
  // The Message-ID's left side: the same for every repeat, so that mail readers
  // show it once.
  std::string key;
  // The key of the mail that said the alert was firing; empty for that mail.
  // Replies to it are shown as one conversation.
  std::string in_reply_to_key;
  absl::Time date;
};

// Errors: InvalidArgument, naming the address.
absl::StatusOr<std::string> RenderEmail(const Notice& notice, const EmailEnvelope& envelope);

// OK for a plain address: name@domain in printable ASCII, at most 254 characters,
// no spaces, quotes, brackets, commas and the like. Errors: InvalidArgument.
absl::Status CheckEmailAddress(std::string_view address);

}  // namespace weir::alerting
