#include "core/lane/lane.h"

#include "core/base/blob.h"
#include "core/base/fd.h"
#include "core/model/shared_message.h"

namespace millrace {

Lane::~Lane() { drop_undelivered(); }

// Both threads are done with the lane: what was never taken may still own blobs.
void Lane::drop_undelivered() {
  while (char* record = events.front()) {
    const auto* event = reinterpret_cast<const Event*>(record);
    if ((event->flags & kEventBodyIsBlob) != 0) {
      Blob dropped = take_blob(*event);
    }
    events.pop(event->size);
  }
  while (char* record = commands.front()) {
    const auto* command = reinterpret_cast<const Command*>(record);
    drop(*command);
    commands.pop(command->size);
  }
}

void Lane::drop(const Command& command) {
  if ((command.flags & kCommandBodyIsBlob) != 0) {
    Blob dropped = Blob::adopt(reinterpret_cast<char*>(command.blob), command.body_length);
  }
  if ((command.flags & kCommandShared) != 0) {
    SharedMessageRef dropped(reinterpret_cast<SharedMessage*>(command.blob));
  }
  if (static_cast<CommandKind>(command.kind) == CommandKind::Connect) {
    Fd closed(static_cast<int32_t>(command.blob));
  }
  if (static_cast<CommandKind>(command.kind) == CommandKind::Save) {
    Fd closed(static_cast<int>(command.amount));
  }
}

}  // namespace millrace
