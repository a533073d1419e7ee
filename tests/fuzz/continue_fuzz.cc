// continue_fuzz.cc: who may continue, against a model that keeps the bytes themselves.
//
// The model is a tree of histories as text: each has a name and what was ever written under it. A holder has lived
// through some of them (written, taken over by a new name, cut back), a replica is anywhere in any of them. If
// can_continue() says yes, the replica's bytes up to where it stands must be the holder's, and every byte from there on
// must be at hand; if it says no although both are so under a name the holder still answers to, that is a full resync
// too many.
#include <map>
#include <string>
#include <vector>

#include "proxy/replication/history.h"
#include "tests/fuzz/fuzz_input.h"

namespace sidestream::fuzz {
namespace {

using namespace replication;

/// Names are one letter, forty times.
ReplId name_of(char letter) { return *ReplId::parse(std::string(40, letter)); }

class Holder {
 public:
  void write(uint8_t count) {
    for (int i = 0; i < count % 16; ++i) bytes_ += static_cast<char>(next_byte_++);
    remember();
  }
  /// The upstream was promoted behind some of our last bytes: those are gone, the rest goes on under a new name.
  void fork(uint8_t lost) {
    if (letter_ == 'f') return;
    bytes_.resize(bytes_.size() - std::min<size_t>(lost % 16, bytes_.size() - dropped_));
    ++letter_;
    history_.shift(name_of(letter_), offset());
    remember();
  }
  /// A history of its own: nothing of the former one counts.
  void begin() {
    if (letter_ == 'f') return;
    ++letter_;
    history_ = History{name_of(letter_), {}, -1};
    bytes_ = std::string(bytes_.size(), '\0');  // as many, but others
    dropped_ = bytes_.size();
    remember();
  }
  void drop(uint8_t count) { dropped_ += std::min<size_t>(count % 16, bytes_.size() - dropped_); }

  void judge(char letter, int64_t stands_at) const {
    const SyncRequest request{true, name_of(letter).text(), stands_at + 1, false};
    const BacklogRange held{static_cast<int64_t>(dropped_) + 1, static_cast<int64_t>(bytes_.size() - dropped_)};
    const Continuation verdict = can_continue(request, history_, held);
    const auto written = written_.find(letter);
    const bool exists = written != written_.end() && stands_at <= static_cast<int64_t>(written->second.size());
    if (!exists) return;  // nobody can stand there; what such a liar is told harms only himself
    const std::string has = written->second.substr(0, static_cast<size_t>(stands_at));
    const bool same = std::string_view(bytes_).starts_with(has);
    const bool at_hand = stands_at >= static_cast<int64_t>(dropped_) && stands_at <= offset().value;
    if (verdict == Continuation::yes) CHECK(same && at_hand);
    const bool known = letter == letter_ || history_.replid2 == name_of(letter);
    if (known && same && at_hand) CHECK(verdict == Continuation::yes);
    if (verdict == Continuation::ahead) CHECK(letter == letter_ && stands_at > offset().value);
  }
  int64_t longest(char letter) const {
    const auto written = written_.find(letter);
    return written == written_.end() ? 0 : static_cast<int64_t>(written->second.size());
  }

 private:
  ReplOffset offset() const { return ReplOffset{static_cast<int64_t>(bytes_.size())}; }
  /// What was ever written under a name; a cut does not take it back from those who got it.
  void remember() {
    std::string& all = written_[letter_];
    if (bytes_.size() > all.size()) all = bytes_;
  }

  std::string bytes_;
  size_t dropped_ = 0;  // of their beginning: no longer at hand
  char letter_ = 'a';
  uint8_t next_byte_ = 1;
  History history_{name_of('a'), {}, -1};
  std::map<char, std::string> written_{{'a', ""}};
};

void live(Input& input) {
  Holder holder;
  while (!input.empty()) {
    const uint8_t what = input.take(), how = input.take();
    switch (what % 8) {
      case 0:
      case 1:
      case 2:
        holder.write(how);
        break;
      case 3:
        holder.fork(how);
        break;
      case 4:
        holder.drop(how);
        break;
      case 5:
        if (how % 4 == 0) holder.begin();
        break;
      default: {
        const auto letter = static_cast<char>('a' + how % 6);
        for (int64_t at = 0; at <= holder.longest(letter); ++at) holder.judge(letter, at);
      }
    }
  }
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream::fuzz;
  if (size > 400) size = 400;  // lives grow with the square
  Input input(data, size);
  live(input);
  return 0;
}
