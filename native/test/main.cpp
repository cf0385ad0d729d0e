// Runs the core's tests: all, or those whose title contains the first argument.
#include "test/harness.h"

int main(int argc, char** argv) { return millrace::test::run_all(argc, argv); }
