// Finds what a file or folder route serves: the file, a folder's index, or that a slash is missing.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "core/disk/open_file.h"

namespace millrace {

struct FindRequest {
  std::string root;                   // the file, or the folder that nothing may leave
  std::string path;                   // below the folder, decoded; "" is the folder itself
  std::string index;                  // what stands for a folder; "": nothing does
  bool is_folder = false;             // root is one
  bool wants_folder = false;          // the path was said with a slash behind it
  bool follow_links = true;           // below the root, and never out of it
  std::array<Bytes, 4> extensions{};  // as OpenRequest has them
  size_t content_max = 0;
};

// Owned by: like every DiskWork.
class FindFileWork final : public DiskWork {
 public:
  explicit FindFileWork(FindRequest what) : request(std::move(what)) {}
  void run() override;
  void refuse(int error) override { opened.error = error; }

  FindRequest request;
  OpenedFile opened;
  bool needs_slash = false;  // a folder, asked for like a file
  std::string name;          // of the file that was opened, without the extension of a sibling

 private:
  void open_below(int root);
  void open_one(int root, std::string path, bool within_root);
};

}  // namespace millrace
