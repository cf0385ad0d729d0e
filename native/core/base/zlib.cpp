#include "core/base/zlib.h"

#include <dlfcn.h>

#include <string>

namespace millrace {
namespace {

static_assert(sizeof(void*) != 8 || sizeof(ZStream) == 112);

// zlib's own names, and those that Chromium gives its copy. Some lines of Node export both.
constexpr const char* kPrefixes[] = {"", "Cr_z_"};
constexpr const char* kLibraries[] = {"libz.so.1", "libz.1.dylib", "libz.so.6"};

// Streams of one copy of zlib are nothing to another: all functions come from one object.
class Search final {
 public:
  Search(void* scope, const char* prefix) : scope_(scope), prefix_(prefix) {}

  template <typename Function>
  void take(const char* name, Function*& function) {
    void* address = ::dlsym(scope_, (std::string(prefix_) + name).c_str());
    Dl_info object{};
    if (address == nullptr || ::dladdr(address, &object) == 0) {
      is_complete_ = false;
      return;
    }
    if (home_ == nullptr) home_ = object.dli_fbase;
    if (home_ != object.dli_fbase) is_complete_ = false;
    function = reinterpret_cast<Function*>(address);
  }
  [[nodiscard]] bool is_complete() const { return is_complete_; }

 private:
  void* scope_;
  const char* prefix_;
  const void* home_ = nullptr;
  bool is_complete_ = true;
};

bool find_family(void* scope, const char* prefix, Zlib& found) {
  Search search(scope, prefix);
  const char* (*version)() = nullptr;
  search.take("zlibVersion", version);
  search.take("deflateInit2_", found.deflate_init);
  search.take("deflate", found.deflate);
  search.take("deflateReset", found.deflate_reset);
  search.take("deflateEnd", found.deflate_end);
  search.take("inflateInit2_", found.inflate_init);
  search.take("inflate", found.inflate);
  search.take("inflateReset", found.inflate_reset);
  search.take("inflateEnd", found.inflate_end);
  if (!search.is_complete()) return false;
  found.version = version();
  return found.version != nullptr && found.version[0] == '1';
}

bool find_zlib(Zlib& found) {
  for (const char* prefix : kPrefixes) {
    if (find_family(RTLD_DEFAULT, prefix, found)) return true;
  }
  for (const char* library : kLibraries) {
    void* handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) continue;
    if (find_family(handle, "", found)) return true;  // stays open as long as the process
    ::dlclose(handle);
  }
  return false;
}

}  // namespace

const Zlib* zlib() {
  static Zlib found;
  static const bool is_found = find_zlib(found);
  return is_found ? &found : nullptr;
}

}  // namespace millrace
