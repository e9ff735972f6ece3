#include "services/alerting/notify_email.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace weir::alerting {
namespace {

constexpr std::string_view kCrlf = "\r\n";

bool Continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// `text` as encoded words, one to a line: "=?UTF-8?B?...?=". 39 bytes are 64
// characters, which leaves room for "Subject: " in the 76 a line may have. A word
// never splits a character.
std::string EncodedWords(std::string_view text) {
  constexpr size_t kMaxWordBytes = 39;
  std::string words;
  while (!text.empty()) {
    size_t size = std::min(kMaxWordBytes, text.size());
    while (size < text.size() && size > 1 && Continues(text[size])) --size;
    const std::string_view word = text.substr(0, size);
    text.remove_prefix(size);
    StrAppend(&words, words.empty() ? "" : "\r\n ", "=?UTF-8?B?",
              absl::Base64Escape(AbslView(word)), "?=");
  }
  return words;
}

// A header's free text. Plain where it is short and ASCII and could not be taken
// for an encoded word.
std::string HeaderText(std::string_view text) {
  constexpr size_t kMaxPlainBytes = 65;
  std::string clean = CleanText(text, kMaxTextBytes);
  for (char& c : clean) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7F') c = ' ';
  }
  const bool plain =
      clean.size() <= kMaxPlainBytes && clean.find("=?") == std::string::npos &&
      std::all_of(clean.begin(), clean.end(), [](char c) { return c >= ' ' && c <= '~'; });
  return plain ? clean : EncodedWords(clean);
}

// RFC 2045, 6.7. Line feeds are line breaks; all other control characters but
// tabs inside lines are written as numbers, and no line has more than 76
// characters.
std::string QuotedPrintable(std::string_view text) {
  constexpr size_t kMaxLine = 75;  // and the "=" of a soft break
  std::string encoded;
  size_t column = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      encoded.append(kCrlf);
      column = 0;
      continue;
    }
    const bool ends_line = i + 1 == text.size() || text[i + 1] == '\n';
    const bool blank = c == ' ' || c == '\t';
    const bool plain = (c > ' ' && c <= '~' && c != '=') || (blank && !ends_line);
    const size_t width = plain ? 1 : 3;
    if (column + width > kMaxLine) {
      encoded.append("=\r\n");
      column = 0;
    }
    if (plain) {
      encoded.push_back(c);
    } else {
      encoded.append(absl::StrFormat("=%02X", static_cast<unsigned char>(c)));
    }
    column += width;
  }
  return encoded;
}

std::string Body(const Notice& notice) {
  std::string body = StrCat(notice.summary, "\n\n");
  const auto description = notice.annotations.find("description");
  if (description != notice.annotations.end()) StrAppend(&body, description->second, "\n\n");
  StrAppend(&body, "Status: ", NoticeKindName(notice.kind), "\n");
  StrAppend(&body, "Since:  ", FormatRfc3339(notice.starts_at), "\n");
  if (notice.ends_at) StrAppend(&body, "Until:  ", FormatRfc3339(*notice.ends_at), "\n");
  if (!notice.generator_url.empty()) StrAppend(&body, "See:    ", notice.generator_url, "\n");
  StrAppend(&body, "\nLabels\n");
  for (const auto& [name, value] : notice.labels) {
    StrAppend(&body, "  ", name, " = ", value, "\n");
  }
  StrAppend(&body, "\nDetails\n");
  for (const auto& [name, value] : notice.annotations) {
    if (name == "summary" || name == "description") continue;
    StrAppend(&body, "  ", name, " = ", value, "\n");
  }
  return body;
}

// RFC 5322 lets no line be longer than 998; addresses go one to a line.
std::string AddressList(const std::vector<std::string>& addresses) {
  std::string list;
  for (const std::string& address : addresses) {
    StrAppend(&list, list.empty() ? "" : ",\r\n ", address);
  }
  return list;
}

}  // namespace

absl::Status CheckEmailAddress(std::string_view address) {
  const auto invalid = [address](std::string_view why) {
    return absl::InvalidArgumentError(
        StrCat("e-mail address '", absl::CHexEscape(AbslView(address.substr(0, 300))), "': ", why));
  };
  if (address.size() > 254) return invalid("more than 254 characters");
  for (const char c : address) {
    if (c <= ' ' || c > '~') return invalid("a character that is not printable ASCII");
    if (std::string_view("\"(),:;<>[]\\").find(c) != std::string_view::npos) {
      return invalid("a character that has a meaning in mail headers");
    }
  }
  const size_t at = address.find('@');
  if (at == std::string_view::npos || at == 0 || at + 1 == address.size() ||
      address.find('@', at + 1) != std::string_view::npos) {
    return invalid("not of the form name@domain");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> RenderEmail(const Notice& notice, const EmailEnvelope& envelope) {
  WEIR_RETURN_IF_ERROR(CheckEmailAddress(envelope.from));
  if (envelope.to.empty()) return absl::InvalidArgumentError("an e-mail to nobody");
  for (const std::string& address : envelope.to) {
    WEIR_RETURN_IF_ERROR(CheckEmailAddress(address));
  }
  const std::string_view domain =
      std::string_view(envelope.from).substr(envelope.from.find('@') + 1);
  const auto message_id = [domain](std::string_view key) {
    return StrCat("<", key, "@", domain, ">");
  };
  std::string message;
  const auto header = [&message](std::string_view name, std::string_view value) {
    StrAppend(&message, name, ": ", value, kCrlf);
  };
  header("Date",
         absl::FormatTime("%a, %d %b %Y %H:%M:%S +0000", envelope.date, absl::UTCTimeZone()));
  header("From", envelope.from);
  header("To", AddressList(envelope.to));
  header("Subject", HeaderText(notice.summary));
  header("Message-ID", message_id(envelope.key));
  if (!envelope.in_reply_to_key.empty()) {
    header("In-Reply-To", message_id(envelope.in_reply_to_key));
    header("References", message_id(envelope.in_reply_to_key));
  }
  // No answer from a machine, please (RFC 3834).
  header("Auto-Submitted", "auto-generated");
  header("MIME-Version", "1.0");
  header("Content-Type", "text/plain; charset=utf-8");
  header("Content-Transfer-Encoding", "quoted-printable");
  message.append(kCrlf);
  message.append(QuotedPrintable(Body(notice)));
  return message;
}

}  // namespace weir::alerting
