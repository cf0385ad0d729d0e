// Entity tags and Last-Modified of a file: made from what stat says, compared with what clients
// send. RFC 9110 8.8. Does not decide about a request; that is conditions.h.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "core/proto/files/encodings.h"

namespace millrace::files {

// What tells one state of a file from another.
struct FileStamp {
  uint64_t size = 0;
  int64_t mtime_ns = 0;  // since 1970
  uint64_t inode = 0;    // 0: not counted, so that copies on several machines get one tag
};

// As sent: "\"size-hash\"" in hexadecimal digits, the hash being of mtime and inode.
struct EntityTag {
  std::array<char, 48> bytes{};
  uint8_t length = 0;
  [[nodiscard]] Bytes text() const { return Bytes(bytes.data(), length); }
};

// False while the file changed less than two seconds ago (or in the future): it may change once
// more within one step of its clock (a tick of the kernel, 1 s or 2 s on old file systems) and keep
// size and mtime. Until then nothing made of them is a strong validator; RFC 9110 8.8.1, 8.8.2.2.
[[nodiscard]] bool is_settled(int64_t mtime_ns, UnixSeconds now);

// Weak ("W/") until the file is settled; what is between the quotes does not change then, so that a
// weak tag still finds its file later. Each coding has its own tag; RFC 9110 8.8.3.3.
[[nodiscard]] EntityTag make_entity_tag(const FileStamp& stamp, Encoding encoding, UnixSeconds now);

enum class TagComparison : uint8_t { Strong, Weak };

// RFC 9110 8.8.3.2. A malformed tag equals none, not even itself.
[[nodiscard]] bool tags_are_equal(Bytes one, Bytes other, TagComparison comparison);

// Whether an If-Match or If-None-Match value names the tag of an existing representation: "*" or a
// list. Malformed members are passed over.
[[nodiscard]] bool tag_list_has(Bytes list, Bytes tag, TagComparison comparison);

// Whole seconds, rounded down, as Last-Modified has them; not before 1970.
[[nodiscard]] UnixSeconds modified_at(int64_t mtime_ns);

// "ETag: …\r\nLast-Modified: …\r\n". A time ahead of `now` is sent as now; RFC 9110 8.8.2.1.
void append_validator_lines(const EntityTag& tag, int64_t mtime_ns, UnixSeconds now,
                            std::string& out);

}  // namespace millrace::files
