# Builds the addon with node-gyp: for prebuildify, and for "npx millrace-build". Files and flags come from the tables
# that CMakeLists.txt reads too.
{
  "variables": {
    "static_runtime": "<!(node -p \"process.env.MILLRACE_STATIC_STDCPP ? 1 : 0\")"
  },
  "targets": [
    {
      "target_name": "millrace",
      "sources": ["<!@(node scripts/sources.mjs core addon)"],
      "include_dirs": ["native", "<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["<!@(node scripts/sources.mjs --flags define)"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-std=gnu++23"],
      "cflags_cc": ["<!@(node scripts/sources.mjs --flags compile)"],
      "ldflags": ["<!@(node scripts/sources.mjs --flags link)"],
      "configurations": {
        "Release": { "defines": ["NDEBUG"] }
      },
      "conditions": [
        ["OS=='linux'", { "libraries": ["-ldl"] }],
        ["static_runtime==1", { "ldflags": ["-static-libstdc++", "-static-libgcc"] }],
        ["OS=='mac'", {
          "xcode_settings": {
            "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
            "GCC_ENABLE_CPP_EXCEPTIONS": "NO",
            "GCC_ENABLE_CPP_RTTI": "NO",
            "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
            "MACOSX_DEPLOYMENT_TARGET": "11.0",
            "OTHER_CPLUSPLUSFLAGS": ["<!@(node scripts/sources.mjs --flags compile)"],
            "OTHER_LDFLAGS": ["<!@(node scripts/sources.mjs --flags link)"]
          }
        }]
      ]
    }
  ]
}
