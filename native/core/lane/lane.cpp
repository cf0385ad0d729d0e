#include "core/lane/lane.h"

#include "core/base/blob.h"

namespace millrace {

Lane::~Lane() { drop_undelivered(); }

// Both threads are done with the lane: what was never taken may still own blobs.
void Lane::drop_undelivered() {
  while (char* record = events.front()) {
    const auto* event = reinterpret_cast<const Event*>(record);
    if ((event->flags & kEventBodyIsBlob) != 0) {
      Blob dropped = Blob::adopt(reinterpret_cast<char*>(event->blob), event->body_length);
    }
    events.pop(event->size);
  }
  while (char* record = commands.front()) {
    const auto* command = reinterpret_cast<const Command*>(record);
    if ((command->flags & kCommandBodyIsBlob) != 0) {
      Blob dropped = Blob::adopt(reinterpret_cast<char*>(command->blob), command->body_length);
    }
    commands.pop(command->size);
  }
}

}  // namespace millrace
