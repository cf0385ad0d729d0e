#include "core/model/head.h"

namespace millrace {

Method method_of(Bytes name) {
  switch (name.size()) {
    case 3:
      if (name == "GET") return Method::Get;
      if (name == "PUT") return Method::Put;
      break;
    case 4:
      if (name == "POST") return Method::Post;
      if (name == "HEAD") return Method::Head;
      break;
    case 5:
      if (name == "PATCH") return Method::Patch;
      if (name == "TRACE") return Method::Trace;
      break;
    case 6:
      if (name == "DELETE") return Method::Delete;
      break;
    case 7:
      if (name == "OPTIONS") return Method::Options;
      if (name == "CONNECT") return Method::Connect;
      break;
    default: break;
  }
  return Method::Other;
}

}  // namespace millrace
