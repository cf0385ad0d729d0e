#include "core/model/head.h"

#include <cstring>

namespace millrace {

namespace {

// For names of the literal's length: so written, compilers compare words and call nothing.
template <size_t size>
bool says(Bytes name, const char (&literal)[size]) {
  return std::memcmp(name.data(), literal, size - 1) == 0;
}

}  // namespace

Method method_of(Bytes name) {
  switch (name.size()) {
    case 3:
      if (says(name, "GET")) return Method::Get;
      if (says(name, "PUT")) return Method::Put;
      break;
    case 4:
      if (says(name, "POST")) return Method::Post;
      if (says(name, "HEAD")) return Method::Head;
      break;
    case 5:
      if (says(name, "PATCH")) return Method::Patch;
      if (says(name, "TRACE")) return Method::Trace;
      break;
    case 6:
      if (says(name, "DELETE")) return Method::Delete;
      break;
    case 7:
      if (says(name, "OPTIONS")) return Method::Options;
      if (says(name, "CONNECT")) return Method::Connect;
      break;
    default: break;
  }
  return Method::Other;
}

}  // namespace millrace
