// The system's picohttpparser as the reader of heads, for builds that ask for it (CMake option
// MILLRACE_SYSTEM_PICOHTTPPARSER). Our rules judge the same bytes. Internal to head.cpp.
#pragma once

#include "core/model/head.h"

#ifdef MILLRACE_SYSTEM_PICOHTTPPARSER
#include <picohttpparser.h>

#include <array>
#endif

namespace millrace::http1 {

#ifdef MILLRACE_SYSTEM_PICOHTTPPARSER

constexpr size_t kSystemFieldsMax = 1000;  // the ceiling of limits.maxHeaders

// `served` is one whole head that our rules have passed as `head`. Puts picohttpparser's reading in
// its place; false when that differs, for what two parsers read differently is not to be served.
[[nodiscard]] inline bool read_with_system(Bytes served, RequestHead& head, HeaderField* fields) {
  std::array<phr_header, kSystemFieldsMax> found;
  size_t count = found.size();
  const char* method = nullptr;
  const char* target = nullptr;
  size_t method_size = 0;
  size_t target_size = 0;
  int minor_version = -1;
  const int consumed =
      phr_parse_request(served.data(), served.size(), &method, &method_size, &target, &target_size,
                        &minor_version, found.data(), &count, 0);
  if (consumed < 0 || static_cast<size_t>(consumed) != served.size()) return false;
  if (Bytes(method, method_size) != head.method || Bytes(target, target_size) != head.target ||
      minor_version != head.minor_version || count != head.header_count) {
    return false;
  }
  head.method = Bytes(method, method_size);
  head.target = Bytes(target, target_size);
  for (size_t i = 0; i < count; i++) {
    if (found[i].name == nullptr) return false;  // a folded line
    const HeaderField field{Bytes(found[i].name, found[i].name_len),
                            trim_ows(Bytes(found[i].value, found[i].value_len))};
    if (field.name != fields[i].name || field.value != fields[i].value) return false;
    fields[i] = field;
  }
  return true;
}

#else

[[nodiscard]] inline bool read_with_system(Bytes, RequestHead&, HeaderField*) { return true; }

#endif

}  // namespace millrace::http1
