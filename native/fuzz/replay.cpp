// Runs a fuzz target over the files and folders named, for builds without libFuzzer and for CI.
// Does not mutate anything.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

bool run_file(const std::filesystem::path& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    return false;
  }
  std::vector<uint8_t> bytes;
  uint8_t buffer[4096];
  size_t length = 0;
  while ((length = std::fread(buffer, 1, sizeof(buffer), file)) > 0) {
    bytes.insert(bytes.end(), buffer, buffer + length);
  }
  const bool complete = std::ferror(file) == 0;
  std::fclose(file);
  // A failed check aborts; this line then tells which file it was.
  std::fprintf(stderr, "%s\n", path.c_str());
  // Exactly as large as the input, so that a sanitizer sees one byte too many.
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  for (size_t i = 0; i < bytes.size(); i++) exact[i] = bytes[i];
  LLVMFuzzerTestOneInput(exact.get(), bytes.size());
  return complete;
}

}  // namespace

int main(int argc, char** argv) {
  size_t files = 0;
  bool ok = argc > 1;
  for (int i = 1; i < argc; i++) {
    std::error_code failure;
    if (!std::filesystem::is_directory(argv[i], failure)) {
      ok = run_file(argv[i]) && ok;
      files++;
      continue;
    }
    std::filesystem::recursive_directory_iterator at(argv[i], failure);
    for (; !failure && at != std::filesystem::recursive_directory_iterator();
         at.increment(failure)) {
      if (!at->is_regular_file(failure)) continue;
      ok = run_file(at->path()) && ok;
      files++;
    }
    if (failure) ok = false;
  }
  std::printf("%zu inputs, %s\n", files, ok ? "all read" : "something could not be read");
  return ok && files > 0 ? 0 : 1;
}
