// UTF-16, as JavaScript has strings, to UTF-8.
#pragma once

#include <cstddef>
#include <string_view>

namespace millrace {

constexpr size_t kUtf8PerUnit = 3;  // bytes that one code unit may need

// `out` has room for kUtf8PerUnit bytes per unit. Half a surrogate pair becomes U+FFFD. Returns the
// number of bytes.
size_t write_utf8(std::u16string_view text, char* out);

}  // namespace millrace
