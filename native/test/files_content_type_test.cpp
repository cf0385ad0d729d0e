// Content types by name, and which of them are compressed.
#include "core/proto/files/content_type.h"

#include <string>

#include "test/harness.h"

namespace {

using millrace::files::content_type_of;
using millrace::files::is_compressible;
using millrace::files::kUnknownType;

struct Row {
  const char* path;
  const char* type;
};

TEST("the last extension gives the type, in any case") {
  const Row rows[] = {
      {"index.html", "text/html; charset=utf-8"},
      {"a/b/INDEX.HTM", "text/html; charset=utf-8"},
      {"app.js", "text/javascript; charset=utf-8"},
      {"app.min.mjs", "text/javascript; charset=utf-8"},
      {"style.Css", "text/css; charset=utf-8"},
      {"notes.txt", "text/plain; charset=utf-8"},
      {"data.json", "application/json"},
      {"app.js.map", "application/json"},
      {"site.webmanifest", "application/manifest+json"},
      {"logo.svg", "image/svg+xml"},
      {"photo.jpeg", "image/jpeg"},
      {"photo.jpg", "image/jpeg"},
      {"a.png", "image/png"},
      {"a.webp", "image/webp"},
      {"a.avif", "image/avif"},
      {"favicon.ico", "image/x-icon"},
      {"font.woff2", "font/woff2"},
      {"clip.mp4", "video/mp4"},
      {"song.mp3", "audio/mpeg"},
      {"part.ts", "video/mp2t"},
      {"list.m3u8", "application/vnd.apple.mpegurl"},
      {"module.wasm", "application/wasm"},
      {"paper.pdf", "application/pdf"},
      {"all.7z", "application/x-7z-compressed"},
      {"archive.tar.gz", "application/gzip"},
      {"app.js.br", "application/x-brotli"},
      {"app.js.zst", "application/zstd"},
      {"3d.3g2", "video/3gpp2"},
      {"page.xhtml", "application/xhtml+xml; charset=utf-8"},
      {"x.xslt", "application/xslt+xml"},
      {"x.webmanifest", "application/manifest+json"},
  };
  for (const Row& row : rows) {
    millrace::test::context = row.path;
    EXPECT(content_type_of(row.path) == row.type);
  }
}

TEST("what has no known extension is unknown") {
  for (const char* path : {"", "README", "a.", ".", "..", ".html", "folder/.html", "a.html/b",
                           "a.html/", "html", "/", "a.htmlx", "a.xhtm", "a.!", "a.zzz", "a.html ",
                           "a.webmanifests", "a.webmanifestwebmanifest", "a.ht\xff"}) {
    millrace::test::context = path;
    EXPECT(content_type_of(path) == kUnknownType);
  }
  EXPECT(content_type_of(std::string(100000, '.') + std::string(100000, 'a')) == kUnknownType);
}

TEST("text and its like are compressed, with parameters and in any case") {
  for (const char* type :
       {"text/html", "text/html; charset=utf-8", "TEXT/Plain", "text/css ;a=b", "application/json",
        "Application/JSON; charset=x", "application/ld+json", "image/svg+xml",
        "application/xhtml+xml; charset=utf-8", "application/wasm", "font/ttf", "image/x-icon",
        "application/x-ndjson", "application/manifest+json", "application/xml"}) {
    millrace::test::context = type;
    EXPECT(is_compressible(type));
  }
}

TEST("what is compressed already, unknown or a stream of events is not") {
  for (const char* type :
       {"", "image/png", "image/jpeg", "video/mp4", "font/woff2", "application/gzip",
        "application/zip", "application/octet-stream", "application/pdf", "text", "xtext/html",
        "text/event-stream", "text/event-stream; charset=utf-8", "application/jsonx",
        "application/json+zip", "json", "image/avif"}) {
    millrace::test::context = type;
    EXPECT(!is_compressible(type));
  }
}

}  // namespace
