// Accept-Encoding: what browsers send, every rule of RFC 9110 12.5.3, and what must be passed over.
#include "core/proto/files/encodings.h"

#include <string>

#include "test/harness.h"

namespace {

using namespace millrace::files;

std::string order_of(millrace::Bytes field) {
  const EncodingOrder order = encoding_order(field);
  std::string text;
  for (Encoding encoding : order.span()) {
    if (!text.empty()) text += ' ';
    text += encoding_token(encoding);
  }
  return text;
}

struct Row {
  const char* field;
  const char* order;
};

TEST("codings come by weight, then in the server's order, identity last unless it is named") {
  const Row rows[] = {
      {"", "identity"},
      {"gzip, deflate, br, zstd", "br zstd gzip identity"},
      {"gzip, deflate", "gzip identity"},
      {"br;q=0.5, gzip", "gzip br identity"},
      {"br;q=0.5, gzip;q=0.501", "gzip br identity"},
      {"zstd;q=0.1,gzip;q=0.2,br;q=0.3", "br gzip zstd identity"},
      {"gzip;q=0", "identity"},
      {"identity", "identity"},
      {"identity, gzip;q=0.5", "identity gzip"},
      {"identity;q=0.5, gzip;q=0.5", "gzip identity"},
      {"identity;q=0.001, gzip", "gzip identity"},
      {"identity;q=0", ""},
      {"identity;q=0, gzip", "gzip"},
      {"*", "br zstd gzip identity"},
      {"*;q=0", ""},
      {"*;q=0, gzip", "gzip"},
      {"*;q=0, identity", "identity"},
      {"*;q=0, identity;q=0.1, br", "br identity"},
      {"*;q=0.8, gzip;q=0.3", "br zstd identity gzip"},
      {"gzip;q=0, *", "br zstd identity"},
      {"deflate, compress, exi", "identity"},
      {"x-gzip", "gzip identity"},
      {"x-compress", "identity"},
  };
  for (const Row& row : rows) {
    millrace::test::context = row.field;
    EXPECT(order_of(row.field) == row.order);
  }
}

TEST("names and the q are in any case, with white space where the grammar has it") {
  EXPECT(order_of("GZip, BR;Q=1") == "br gzip identity");
  EXPECT(order_of(" \tgzip\t;\t q=0.5 ,\tbr ; q=0.4") == "gzip br identity");
  EXPECT(order_of(",, gzip ,,") == "gzip identity");
}

TEST("weights are 0 to 1 with at most three digits behind the point") {
  for (const char* weight : {"1", "1.", "1.0", "1.00", "1.000", "0.001", "0.999", "0.5", "0.1"}) {
    millrace::test::context = weight;
    EXPECT(order_of(std::string("gzip;q=") + weight) == "gzip identity");
  }
  for (const char* weight : {"0", "0.", "0.0", "0.00", "0.000"}) {
    millrace::test::context = weight;
    EXPECT(order_of(std::string("identity;q=") + weight) == "");
  }
  for (const char* weight : {"", "1.001", "1.1", "2", "-1", "+1", ".5", "0.0001", "1.0000", "00",
                             "01", "0,5", "1e0", "0.5x", "0x", "\"1\"", "0.5;q=1", " 1", "nan"}) {
    millrace::test::context = weight;
    EXPECT(order_of(std::string("gzip;q=") + weight) == "identity");
  }
}

TEST("a malformed member is passed over, and the others count") {
  for (const char* member :
       {"br gzip", "br;", "br;level=3", "br;q", "br=1", ";q=1", "b\"r", "br;;q=1"}) {
    millrace::test::context = member;
    EXPECT(order_of(std::string(member) + ", gzip") == "gzip identity");
  }
}

TEST("the first of two members for one coding counts") {
  EXPECT(order_of("gzip;q=0, gzip") == "identity");
  EXPECT(order_of("gzip, gzip;q=0") == "gzip identity");
  EXPECT(order_of("*;q=0, *") == "");
  EXPECT(order_of("x-gzip;q=0, gzip") == "identity");
}

TEST("an order says what it has") {
  const EncodingOrder order = encoding_order("br");
  EXPECT(order.has(Encoding::Brotli) && order.has(Encoding::Identity));
  EXPECT(!order.has(Encoding::Gzip) && !order.has(Encoding::Zstd));
  EXPECT(encoding_extension(Encoding::Brotli) == ".br");
  EXPECT(encoding_extension(Encoding::Zstd) == ".zst");
  EXPECT(encoding_extension(Encoding::Gzip) == ".gz");
  EXPECT(encoding_extension(Encoding::Identity).empty());
}

}  // namespace
