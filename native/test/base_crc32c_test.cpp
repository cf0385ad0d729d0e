// CRC-32C: the published examples, pieces against the whole, and every length against a slow one.
#include "core/base/crc32c.h"

#include <string>

#include "test/harness.h"
#include "test/proxy_rig.h"

namespace millrace {
namespace {

TEST("the sums are those of RFC 3720 B.4") {
  EXPECT(crc32c("") == 0);
  EXPECT(crc32c("123456789") == 0xe3069283u);
  EXPECT(crc32c(std::string(32, '\0')) == 0x8a9136aau);
  EXPECT(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
  std::string rising;
  for (int i = 0; i < 32; i++) rising += static_cast<char>(i);
  EXPECT(crc32c(rising) == 0x46dd794eu);
  EXPECT(crc32c(std::string(rising.rbegin(), rising.rend())) == 0x113fdb5cu);
}

TEST("the sum of pieces is that of the whole") {
  std::string bytes;
  for (size_t size = 0; size <= 300; size++) {
    const uint32_t whole = crc32c(bytes);
    EXPECT(whole == test::slow_crc32c(bytes));
    const size_t cut = size / 3;
    EXPECT(crc32c(Bytes(bytes).substr(cut), crc32c(Bytes(bytes).substr(0, cut))) == whole);
    bytes += static_cast<char>(size * 31 + 7);
  }
}

}  // namespace
}  // namespace millrace
