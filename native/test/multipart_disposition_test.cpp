// Content-Disposition of a part and the boundary of a Content-Type.
#include "core/proto/multipart/boundary.h"
#include "core/proto/multipart/disposition.h"
#include "test/harness.h"

namespace millrace::test {

namespace {

struct Row {
  const char* value;
  const char* name;      // nullptr: refused
  const char* filename;  // nullptr: none
};

void check(const Row* rows, size_t count) {
  for (size_t i = 0; i < count; i++) {
    context = rows[i].value;
    Disposition found;
    const bool is_good = parse_disposition(rows[i].value, found);
    EXPECT(is_good == (rows[i].name != nullptr));
    if (!is_good || rows[i].name == nullptr) continue;
    EXPECT(found.name == rows[i].name);
    EXPECT(found.has_filename == (rows[i].filename != nullptr));
    EXPECT(found.filename == (rows[i].filename == nullptr ? "" : rows[i].filename));
  }
}
template <size_t kCount>
void check(const Row (&rows)[kCount]) {
  check(rows, kCount);
}

TEST("a disposition has its parameters in any order, as tokens or quoted strings") {
  constexpr Row kRows[] = {
      {"form-data; name=\"a\"", "a", nullptr},
      {"form-data;name=a", "a", nullptr},
      {"FORM-Data ;\tNAME=a ; FileName=b", "a", "b"},
      {"form-data; filename=\"b.txt\"; name=\"a\"", "a", "b.txt"},
      {"form-data; filename=\"x; name=b\"; name=\"a\"", "a", "x; name=b"},
      {"form-data; filename=\"; name=\\\"b\"; name=\"a\"", "a", "; name=\"b"},
      {"form-data; name=\"\"; filename=\"\"", "", ""},
      {"form-data; name=a; other=1; size=\"2\"; flag", "a", nullptr},
      {"form-data;; ;name=a;", "a", nullptr},
      {"form-data; xname=b; name=a; filenames=c", "a", nullptr},
      {"form-data; name=\"\xc3\xa9 \xe4\x01\"; filename=\"\xe6\x97\xa5.txt\"", "\xc3\xa9 \xe4\x01",
       "\xe6\x97\xa5.txt"},
      {"form-data; name=\"a;b=c,d e\"", "a;b=c,d e", nullptr},
  };
  check(kRows);
}

TEST("a disposition that is malformed, nameless, repeated or of another type is refused") {
  constexpr Row kRows[] = {
      {"", nullptr, nullptr},
      {"form-data", nullptr, nullptr},
      {"form-data; ", nullptr, nullptr},
      {"name=\"a\"", nullptr, nullptr},
      {"attachment; name=\"a\"", nullptr, nullptr},
      {"form-datax; name=a", nullptr, nullptr},
      {"form-data name=a", nullptr, nullptr},
      {"form-data, name=a", nullptr, nullptr},
      {"form-data; filename=\"name=a\"", nullptr, nullptr},
      {"form-data; name", nullptr, nullptr},
      {"form-data; name=", nullptr, nullptr},
      {"form-data; name =a", nullptr, nullptr},
      {"form-data; name= a", nullptr, nullptr},
      {"form-data; name=\"a", nullptr, nullptr},
      {"form-data; name=\"a\"b", nullptr, nullptr},
      {"form-data; name=\"a\" b", nullptr, nullptr},
      {"form-data; name=a b", nullptr, nullptr},
      {"form-data; name=a\"b", nullptr, nullptr},
      {"form-data; name=a/b", nullptr, nullptr},
      {"form-data; =a; name=a", nullptr, nullptr},
      {"form-data; name=a; name=a", nullptr, nullptr},
      {"form-data; name=a; NAME=\"b\"", nullptr, nullptr},
      {"form-data; name=a; filename=b; filename=c", nullptr, nullptr},
      {"form-data; name=a; filename*=UTF-8''b; filename*=UTF-8''c", nullptr, nullptr},
      {"form-data; name*=UTF-8''a", nullptr, nullptr},
  };
  check(kRows);
}

TEST("a backslash escapes a quote and itself, and is text before anything else") {
  constexpr Row kRows[] = {
      {"form-data; name=\"a\\\"b\\\\c\"", "a\"b\\c", nullptr},
      {"form-data; name=a; filename=\"C:\\dir\\a.txt\"", "a", "C:\\dir\\a.txt"},
      {"form-data; name=a; filename=\"C:\\\\dir\\\\a.txt\"", "a", "C:\\dir\\a.txt"},
      {"form-data; name=\"\\%22\"", "\\\"", nullptr},
      {"form-data; name=\"\\\\%22\"", "\\\"", nullptr},
  };
  check(kRows);
}

TEST("a name that a browser ends in a backslash does not swallow its quote") {
  constexpr Row kRows[] = {
      {"form-data; name=\"a\\\"", "a\\", nullptr},
      {"form-data; name=\"a\\\"; filename=\"b\\\"", "a\\", "b\\"},
      {"form-data; name=\"a\\\"; filename=\"b.txt\"", "a\\", "b.txt"},
      {"form-data; name=\"a\\\"; name=\"b\"", nullptr, nullptr},
      {"form-data; filename=\"a\\\"; name=\\\"b\"", nullptr, nullptr},  // reads well: no name
  };
  check(kRows);
}

TEST("exactly %22, %0D and %0A are decoded in names") {
  constexpr Row kRows[] = {
      {"form-data; name=\"a%22b%0D%0Ac\"; filename=\"%22.txt\"", "a\"b\r\nc", "\".txt"},
      {"form-data; name=\"%0d%0a%20%41%2522%\"; filename=\"%2\"", "%0d%0a%20%41%2522%", "%2"},
      {"form-data; name=a%22b; filename=\"%22name=c\"", "a\"b", "\"name=c"},
      {"form-data; name=\"%2%22\"; filename=\"%%0D\"", "%2\"", "%\r"},
  };
  check(kRows);
}

TEST("a readable filename* stands above filename, and another one is not there") {
  constexpr Row kRows[] = {
      {"form-data; name=a; filename*=UTF-8''%e2%82%AC%20x", "a", "\xe2\x82\xac x"},
      {"form-data; name=a; filename=b; filename*=utf-8'en'c", "a", "c"},
      {"form-data; name=a; FILENAME*=utf-8''c; filename=b", "a", "c"},
      {"form-data; name=a; filename*=ISO-8859-1''%A3%20x%e9", "a", "\xc2\xa3 x\xc3\xa9"},
      {"form-data; name=a; filename*=UTF-8''%0D%0A%22", "a", "\r\n\""},
      {"form-data; name=a; filename=b; filename*=UTF-8''", "a", ""},
      {"form-data; name=a; filename*=UTF-8''%C3%28; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''%C0%80; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''%ED%A0%80; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''%ED%9F%BF", "a", "\xed\x9f\xbf"},
      {"form-data; name=a; filename*=UTF-8''%E0%9F%BF; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''%F0%90%80%80", "a", "\xf0\x90\x80\x80"},
      {"form-data; name=a; filename*=UTF-8''%F0%8F%80%80; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''%F4%90%80%80; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''%E2%82; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''%00; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''%4; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''%4g; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''%; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''c'd; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8'c; filename=b", "a", "b"},
      {"form-data; name=a; filename*=c; filename=b", "a", "b"},
      {"form-data; name=a; filename*=utf-16''c; filename=b", "a", "b"},
      {"form-data; name=a; filename*=\"UTF-8''c\"; filename=b", "a", "b"},
      {"form-data; name=a; filename*=UTF-8''c/d; filename=b", "a", "b"},
      {"form-data; name=a; filename*; filename=b", "a", "b"},
      {"form-data; name=a; filename*=utf-16''c", "a", nullptr},
      {"form-data; name=a; filename=b/c; filename*=UTF-8''d", nullptr, nullptr},
  };
  check(kRows);
}

TEST("a boundary is read from the content type, quoted or not, or refused") {
  struct Type {
    std::string value;
    const char* boundary;
    ErrorCode error;
  };
  const std::string longest(70, 'b');
  const Type types[] = {
      {"multipart/form-data; boundary=q1", "q1", ErrorCode::None},
      {" Multipart/FORM-data;Boundary=q1 ", "q1", ErrorCode::None},
      {"multipart/form-data; charset=utf-8; boundary=q1; x=\"y;z\"", "q1", ErrorCode::None},
      {"multipart/form-data; x=\"; boundary=no\"; boundary=q1", "q1", ErrorCode::None},
      {"multipart/form-data; boundary=\"q 1:?\"", "q 1:?", ErrorCode::None},
      {"multipart/form-data; boundary=\"\\\\1\"", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data; boundary=----=_Part_1:2.3", "----=_Part_1:2.3", ErrorCode::None},
      {"multipart/form-data; boundary=" + longest, longest.c_str(), ErrorCode::None},
      {"multipart/form-data; boundary=" + longest + "b", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data;", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data; boundary", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data; boundary=", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data; boundary=\"\"", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data; boundary=\"q1", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data; boundary=\"q1 \"", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data; boundary=\"q\\\"1\"", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data; boundary=q\r\n1", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data; boundary=\xc3\xa9", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data; boundary=a; boundary=b", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data; boundary=a b", nullptr, ErrorCode::BadMultipart},
      {"multipart/form-data, boundary=q1", nullptr, ErrorCode::UnsupportedMediaType},
      {"multipart/form-datax; boundary=q1", nullptr, ErrorCode::UnsupportedMediaType},
      {"multipart/mixed; boundary=q1", nullptr, ErrorCode::UnsupportedMediaType},
      {"", nullptr, ErrorCode::UnsupportedMediaType},
  };
  for (const Type& type : types) {
    context = type.value;
    MultipartBoundary boundary;
    EXPECT(parse_multipart_boundary(type.value, boundary) == type.error);
    if (type.boundary != nullptr) EXPECT(boundary.text() == type.boundary);
  }
}

}  // namespace

}  // namespace millrace::test
