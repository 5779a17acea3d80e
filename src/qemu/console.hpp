#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

// A guest's serial console. QEMU keeps the end of what is written to it in a ring of its own memory: whoever
// writes never waits and nothing grows, whether a daemon runs or not. It is read when a guest has failed.
namespace understudy::qemu {

inline constexpr const char* kConsole = "console";  // the name of the ring, in the command line and in QMP
inline constexpr std::size_t kConsoleBytes = 8192;  // a whole report of a kernel; a power of two
inline constexpr std::size_t kMostWordsLines = 10;  // of what is shown
inline constexpr std::size_t kMostWordsBytes = 2048;

// "ringbuf-read", which takes out what it answers.
[[nodiscard]] boost::json::object console_question();

// The bytes of its answer, which may be anything. Empty: there were none, or it is no such answer (a QEMU
// that was launched by an earlier version has no console).
[[nodiscard]] std::string read_console(const boost::json::value& reply);

// The lines that say what happened, fit to be shown: those up to a kernel's panic when there was one, since
// what it prints afterwards is its stack, else the last. Empty: it said nothing.
[[nodiscard]] std::string last_words(std::string_view written);

}  // namespace understudy::qemu
