// The forms of test/cases/seed_multipart.json: whole, byte by byte and at every single split.
#include <cstdio>

#include "test/harness.h"
#include "test/json.h"
#include "test/multipart_rig.h"

namespace millrace::test {

namespace {

Json read_seeds() {
  std::string text;
  std::FILE* file = std::fopen(MILLRACE_ROOT "/test/cases/seed_multipart.json", "rb");
  if (!EXPECT(file != nullptr)) return Json();
  char buffer[4096];
  size_t length = 0;
  while ((length = std::fread(buffer, 1, sizeof(buffer), file)) > 0) text.append(buffer, length);
  std::fclose(file);
  return JsonReader(text).read();
}

void check_part(const Json& wanted, const FoundPart& part) {
  EXPECT(part.has_end);
  EXPECT(part.name == wanted["name"].text);
  EXPECT(part.has_filename == wanted["filename"].is_there());
  EXPECT(part.filename == wanted["filename"].text);
  EXPECT(part.content == wanted["data"].text);
  for (const Json& header : wanted["headers"].items) {
    const std::string line =
        "\n" + header.items[0].text + std::string(1, '\0') + header.items[1].text + "\n";
    EXPECT(part.headers.find(line) != std::string::npos);
  }
}

void check_form(const Json& seed, const FoundForm& form) {
  if (seed["fails"].is_true()) {
    EXPECT(!form.is_complete);
    return;
  }
  EXPECT(form.is_complete && form.error == ErrorCode::None);
  const std::vector<Json>& wanted = seed["entries"].items;
  if (!EXPECT(form.parts.size() == wanted.size())) return;
  for (size_t i = 0; i < wanted.size(); i++) check_part(wanted[i], form.parts[i]);
}

TEST("every seed form comes to its entries, whole, byte by byte and at every split") {
  const Json seeds = read_seeds();
  EXPECT(seeds["cases"].items.size() == 24);
  size_t decoded = 0;
  for (const Json& seed : seeds["cases"].items) {
    context = seed["id"].text;
    MultipartBoundary boundary;
    if (parse_multipart_boundary(seed["content_type"].text, boundary) != ErrorCode::None) {
      EXPECT(seed["fails"].is_true() || seed["may_fail"].is_true());
      continue;
    }
    decoded++;
    const Bytes body = seed["body"].text;
    const FoundForm whole =
        decode_form(boundary.text(), {}, body, [](size_t left) { return left; });
    check_form(seed, whole);
    const auto one = [](size_t left) { return left == 0 ? size_t{0} : size_t{1}; };
    EXPECT(decode_form(boundary.text(), {}, body, one) == whole);
    for (size_t cut = 0; cut <= body.size(); cut++) {
      const auto at_cut = [&](size_t left) {
        return left == body.size() && cut < left && cut > 0 ? cut : left;
      };
      EXPECT(decode_form(boundary.text(), {}, body, at_cut) == whole);
    }
  }
  EXPECT(decoded == 20);
}

}  // namespace

}  // namespace millrace::test
