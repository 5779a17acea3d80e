#pragma once

#include "qemu/marker.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include <boost/asio/io_context.hpp>

namespace understudy::qemu {

// A look at every process of the host for QEMUs of a run directory, without the loop waiting for it: there
// may be thousands, and reading the command line of one whose memory the kernel holds never returns.
class ProcessScan final {
 public:
  using Found = std::function<void(Result<std::vector<FoundProcess>>)>;
  using Look = std::function<std::vector<FoundProcess>(const std::filesystem::path& run_dir)>;

  // `look` is find_processes(), or a test's; it is called in a thread of its own.
  ProcessScan(boost::asio::io_context& loop, std::filesystem::path run_dir, Duration limit,
              Look look = find_processes);
  ~ProcessScan();
  ProcessScan(const ProcessScan&) = delete;
  ProcessScan& operator=(const ProcessScan&) = delete;

  // Answered once, from the loop. There is one look at a time; who asks meanwhile is answered by the next. An
  // error when the limit passes before.
  void look(Found found);

 private:
  struct Asked;
  struct Shared;
  void begin();

  boost::asio::io_context& loop_;
  std::filesystem::path run_dir_;
  Duration limit_;
  Look look_;
  bool busy_ = false;
  std::vector<std::weak_ptr<Asked>> waiting_;  // for the next look
  std::shared_ptr<Shared> shared_;
};

}  // namespace understudy::qemu
