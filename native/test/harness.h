// A test harness of one page: TEST registers, EXPECT reports and goes on, main() runs all or those
// named. No fixtures, no mocks, no time.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace millrace::test {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
inline int failures = 0;
inline std::string context;  // printed with a failure; set it in loops

struct Registrar {
  Registrar(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

inline bool expect(bool ok, const char* expression, const char* file, int line) {
  if (ok) return true;
  failures++;
  if (failures <= 50)
    std::printf("  %s:%d: expected %s  %s\n", file, line, expression, context.c_str());
  return false;
}

// With MILLRACE_TEST_PART=1/2 every second one: ctest runs both halves side by side.
inline int run_all(int argc, char** argv) {
  size_t part = 0;
  size_t parts = 1;
  const char* text = std::getenv("MILLRACE_TEST_PART");
  if (text != nullptr && (std::sscanf(text, "%zu/%zu", &part, &parts) != 2 || part >= parts))
    return std::printf("MILLRACE_TEST_PART is not one of 0/2 and 1/2: %s\n", text), 2;
  int passed = 0;
  int failed = 0;
  size_t at = 0;
  for (const Case& one : cases()) {
    if (at++ % parts != part) continue;
    if (argc > 1 && std::strstr(one.name, argv[1]) == nullptr) continue;
    int before = failures;
    context.clear();
    one.run();
    if (failures == before) {
      passed++;
    } else {
      failed++;
      std::printf("FAILED %s\n", one.name);
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace millrace::test

#define MR_TEST_NAME2(line) test_at_##line
#define MR_TEST_NAME(line) MR_TEST_NAME2(line)
#define TEST_AT(title, line)                                                                   \
  static void MR_TEST_NAME(line)();                                                            \
  static const ::millrace::test::Registrar MR_TEST_NAME2(line##_r)(title, MR_TEST_NAME(line)); \
  static void MR_TEST_NAME(line)()
#define TEST_EXPAND(title, line) TEST_AT(title, line)
// Each file wraps its tests in an anonymous namespace. The title is a sentence about behaviour.
#define TEST(title) TEST_EXPAND(title, __COUNTER__)
#define EXPECT(expression) \
  ::millrace::test::expect(static_cast<bool>(expression), #expression, __FILE__, __LINE__)
