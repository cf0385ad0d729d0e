// What parse.cpp feeds to parsers, router and encoder: made to look like traffic, all of it ours.
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

namespace millrace::bench {

struct HeadInput {
  const char* name;
  std::string text;
};

inline std::string browser_head() {
  return "GET /articles/2026/11/mill-wheels?page=2&sort=recent HTTP/1.1\r\n"
         "Host: www.watermill.example\r\n"
         "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
         "Chrome/131.0.0.0 Safari/537.36\r\n"
         "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n"
         "Accept-Language: en-GB,en;q=0.7,sk;q=0.3\r\n"
         "Accept-Encoding: gzip, deflate, br\r\n"
         "Referer: https://www.watermill.example/articles\r\n"
         "Connection: keep-alive\r\n"
         "Cookie: session=4f1d0c9a77e24b5e8f2a; theme=dark; seen=181,204,377\r\n"
         "Upgrade-Insecure-Requests: 1\r\n"
         "Sec-Fetch-Dest: document\r\n"
         "Sec-Fetch-Mode: navigate\r\n"
         "Sec-Fetch-Site: same-origin\r\n\r\n";
}

inline std::string many_fields_head() {
  std::string text = "POST /v2/telemetry HTTP/1.1\r\nHost: collector.example\r\n";
  for (int i = 0; i < 60; i++) {
    char line[96];
    std::snprintf(line, sizeof(line), "X-Sensor-%02d-Reading: level=%d.%02d;state=open\r\n", i,
                  i * 7 % 100, i * 13 % 100);
    text += line;
  }
  return text + "Content-Length: 0\r\n\r\n";
}

inline std::vector<HeadInput> head_inputs() {
  return {
      {"minimal", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"},
      {"proxied",
       "GET /api/orders/1842?fields=id,total HTTP/1.1\r\nHost: api.internal\r\n"
       "X-Real-IP: 203.0.113.7\r\nX-Forwarded-For: 203.0.113.7\r\n"
       "X-Forwarded-Proto: https\r\nAccept: application/json\r\n"
       "User-Agent: orders-client/3.2\r\n\r\n"},
      {"browser", browser_head()},
      {"62 fields", many_fields_head()},
      {"one 4 KiB field",
       "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + std::string(4096, 'c') + "\r\n\r\n"},
  };
}

// A chunked body of `total` bytes in chunks of `chunk`, up to and without the trailer section.
inline std::string chunked_body(size_t chunk, size_t total) {
  std::string text;
  for (size_t done = 0; done < total; done += chunk) {
    char size[32];
    std::snprintf(size, sizeof(size), "%zx\r\n", chunk);
    text += size + std::string(chunk, 'd') + "\r\n";
  }
  return text + "0\r\n";
}

struct FrameInput {
  const char* name;
  size_t payload;      // bytes of each frame
  std::string frames;  // masked, of text, one behind the other
};

inline std::vector<FrameInput> frame_inputs() {
  FrameInput small{"256 frames of 64 B", 64, {}};
  for (int i = 0; i < 256; i++) small.frames += "\x81\xc0mask" + std::string(64, 'p');
  return {small,
          {"frame of 16 KiB", 16384,
           "\x81\xfe" + std::string("\x40\0mask", 6) + std::string(16384, 'p')}};
}

struct TextInput {
  const char* name;
  std::string text;
};

inline std::vector<TextInput> text_inputs() {
  const auto repeated = [](const std::string& piece, size_t size) {
    std::string text;
    while (text.size() + piece.size() <= size) text += piece;
    return text;
  };
  const std::string german = "Das M\xc3\xbchlrad dreht sich, bis der Bach im Winter gefriert. ";
  const std::string mixed = "M\xc3\xbchle \xe6\xb0\xb4\xe8\xbd\xa6 \xf0\x9f\x8c\xbe and grain ";
  return {{"ASCII 64 B", std::string(64, 't')},
          {"ASCII 16 KiB", std::string(16384, 't')},
          {"German 16 KiB", repeated(german, 16384)},
          {"mixed 16 KiB", repeated(mixed, 16384)},
          {"Chinese 16 KiB", repeated("\xe6\xb0\xb4\xe8\xbd\xa6", 16384)}};
}

// 200 patterns: 100 resources, each with a collection and an item.
inline std::vector<std::string> route_patterns() {
  std::vector<std::string> patterns;
  for (int i = 0; i < 100; i++) {
    std::string resource = "/api/v1/resource" + std::to_string(i * 37 % 100);
    patterns.push_back(resource);
    patterns.push_back(resource + "/:id/parts/:part");
  }
  return patterns;
}

struct RouterInput {
  const char* name;
  std::vector<std::string> targets;  // taken in turn; a power of two of them
};

inline std::vector<RouterInput> router_inputs() {
  RouterInput literal{"literal", {}};
  RouterInput parameters{"2 parameters", {}};
  RouterInput missing{"no route", {}};
  for (int i = 0; i < 64; i++) {
    std::string resource = "/api/v1/resource" + std::to_string(i * 29 % 100);
    literal.targets.push_back(resource + "?page=3");
    parameters.targets.push_back(resource + "/48151623/parts/" + std::to_string(i));
    missing.targets.push_back(resource + "/48151623/nothing");
  }
  return {literal, parameters, missing};
}

}  // namespace millrace::bench
