// A command line that a fuzzer made: its words, separated by line ends, after the program's name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz_input.h"

namespace rram::fuzz {

class Arguments {
 public:
  Arguments(std::string_view program, std::string_view lines) {
    words_.emplace_back(program);
    while (!lines.empty()) {
      const std::size_t end = lines.find('\n');
      // An argument ends at a NUL.
      const std::string_view line = lines.substr(0, end);
      words_.emplace_back(line.substr(0, line.find('\0')));
      lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
    }
    for (std::string& word : words_) pointers_.push_back(word.data());
    pointers_.push_back(nullptr);
  }

  [[nodiscard]] int count() const { return static_cast<int>(words_.size()); }
  // As main() gets them: ended by a null pointer.
  [[nodiscard]] char** values() { return pointers_.data(); }

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

}  // namespace rram::fuzz
