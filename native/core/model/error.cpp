#include "core/model/error.h"

#include <array>
#include <cstddef>

namespace millrace {
namespace {

struct Row {
  const char* name;
  const char* sentence;
  uint16_t status;
};

constexpr std::array kErrorRows = {
    Row{"", "", 0},
#define MR_ERROR(name, code, status, sentence) Row{#code, sentence, status},
#include "core/model/errors.def"
#undef MR_ERROR
};

const Row& row_of(ErrorCode code) { return kErrorRows[static_cast<size_t>(code)]; }

}  // namespace

const char* error_code_name(ErrorCode code) { return row_of(code).name; }
const char* error_code_sentence(ErrorCode code) { return row_of(code).sentence; }
uint16_t error_code_status(ErrorCode code) { return row_of(code).status; }

}  // namespace millrace
