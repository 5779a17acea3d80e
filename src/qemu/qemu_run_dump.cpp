// How the base memory of a run that was stopped is written to a file. Only its base memory: the areas that it
// still has mapped belong to somebody else by now.
#include "base/shown.hpp"
#include "qemu/command_line.hpp"
#include "qemu/json_field.hpp"
#include "qemu/qemu_run.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <boost/json/serialize.hpp>

namespace understudy::qemu {

namespace json = boost::json;
using namespace core::event;

namespace {

constexpr const char* kDumpFd = "dump";  // what QEMU is to call the file that it is given
constexpr const char* kNothingToDump = "its QEMU had to be killed, and its memory went with it";

}  // namespace

// QEMU writes the file itself: it alone knows the vCPUs' registers, and under KVM their threads are needed to
// read them. So of the two things that hold a stopped guest one is lifted meanwhile: QEMU's threads go on,
// and its own state is what keeps the vCPUs from running. It is asked for that state before anything else,
// ended at once when it is another one or when it says that the guest moves, and stopped again afterwards.
//
// 1. the guest is stopped, its QEMU lives: a kill has left nothing to write
// 2. a file, made by us, so that its mode is ours; room for it. This and 6 in a worker thread
// 3. SIGCONT; query-status: still in a state that only we can end, else SIGKILL
// 4. dump-guest-memory in the background, DUMP_COMPLETED within the limit
// 5. SIGSTOP, and every thread is seen to be stopped, else SIGKILL
// 6. the file's name, the oldest removed, DumpDone
// Each failure is a DumpDone that says why, and stops QEMU as well.
void QemuRun::dump() {
  if (dumping_ != Dumping::unasked) return;  // what comes of it is said once
  if (phase_ == Phase::starting || phase_ == Phase::running)
    return emit(DumpDone{run_, "", "the guest is not stopped"});
  if (!may_be_dumped()) return emit(DumpDone{run_, "", kNothingToDump});
  dumping_ = Dumping::file;
  limit_dump();
  context_.dump_files.run([dumps = context_.dumps, guest = plan_.name, run = run_.run,
                           bytes = plan_.base_bytes] { return dumps.begin(guest, run, bytes); },
                          [weak = std::weak_ptr(self_)](Result<DumpPart> part) {
                            if (const auto self = weak.lock()) return (*self)->dump_begun(std::move(part));
                            std::error_code ignored;  // discarded, and forgotten, meanwhile
                            if (part) std::filesystem::remove(part->path, ignored);
                          });
}

bool QemuRun::may_be_dumped() const {
  return phase_ == Phase::stopped && !discard_asked_ && has_process() && monitor_ && monitor_->ready();
}

// Of each of its parts.
void QemuRun::limit_dump() {
  dump_limit_.expires_after(context_.dumps.limit());
  dump_limit_.async_wait([weak = std::weak_ptr(self_)](auto error) {
    const auto self = weak.lock();
    if (error || !self) return;
    const std::string why = "it was not written within " + format_duration((*self)->context_.dumps.limit()) +
                            "; raise limit in [dumps], or write to a faster disk";
    if ((*self)->dumping_ == Dumping::name) return (*self)->dump_done("", why);
    (*self)->end_dump(why);
  });
}

void QemuRun::dump_done(const std::string& file, const std::string& why_not) {
  dump_limit_.cancel();
  if (std::exchange(dumping_, Dumping::done) != Dumping::done) emit(DumpDone{run_, file, why_not});
}

void QemuRun::dump_begun(Result<DumpPart> part) {
  if (!part) return dump_done("", part.error().message);
  dump_part_ = part->path;
  if (dumping_ != Dumping::file) return abandon_dump();  // answered meanwhile
  dump_file_ = std::move(part->file);
  dumping_ = Dumping::memory;
  if (!may_be_dumped()) return end_dump(kNothingToDump);
  limit_dump();
  if (auto ok = process_->go_on(); !ok) return end_dump(ok.error().message);
  monitor_->execute("query-status", {}, context_.limits.plug, [this](const QmpReply& reply) {
    if (dumping_ != Dumping::memory) return;
    const auto status = reply ? read_status(*reply) : failure(reply.error().message);
    if (status && status->only_a_command_ends_it()) return write_dump();
    const std::string why = status ? "QEMU says \"" + status->name + "\"" : status.error().message;
    end_dump(why + ", so it was ended");
    process_->kill([](const std::string&) {});
  });
}

void QemuRun::write_dump() {
  // QEMU is given the open file alone: it need not be allowed to make one, nor to look into the directory.
  monitor_->execute_with(std::move(dump_file_), "getfd", {{"fdname", kDumpFd}}, context_.dumps.limit(),
                         [this](const QmpReply& reply) {
                           if (!reply) end_dump(reply.error().message);
                         });
  const json::object arguments{
      {"paging", false}, {"protocol", std::string("fd:") + kDumpFd}, {"detach", true},
      {"begin", 0},      {"length", end_of_base(plan_.base_bytes)},  {"format", "elf"}};
  monitor_->execute("dump-guest-memory", arguments, context_.dumps.limit(), [this](const QmpReply& reply) {
    if (!reply) end_dump(reply.error().message);
  });
}

void QemuRun::on_dump_completed(const QmpEvent& event) {
  if (dumping_ != Dumping::memory) return;
  const json::value* error = event.data.if_contains("error");
  if (error != nullptr) return end_dump("QEMU says: " + shown(json::serialize(*error), kMostQuotedBytes));
  const json::value* result = event.data.if_contains("result");
  const json::value* status =
      result != nullptr && result->is_object() ? result->get_object().if_contains("status") : nullptr;
  const bool completed = status != nullptr && status->is_string() && status->get_string() == "completed";
  end_dump(completed ? "" : "QEMU says that it is not complete");
}

// Empty: it was written.
void QemuRun::end_dump(const std::string& failed) {
  if (dumping_ == Dumping::file) return dump_done("", failed);
  if (dumping_ != Dumping::memory) return;
  dump_file_.reset();
  hold_again();
  if (!failed.empty()) {
    abandon_dump();
    return dump_done("", failed);
  }
  dumping_ = Dumping::name;
  limit_dump();
  context_.dump_files.run([dumps = context_.dumps, part = dump_part_] { return dumps.finish(part); },
                          [weak = std::weak_ptr(self_)](const Result<std::filesystem::path>& file) {
                            const auto self = weak.lock();
                            if (!self) return;
                            if (!file) return (*self)->dump_done("", file.error().message);
                            (*self)->dump_done(file->string(), "");
                          });
}

void QemuRun::abandon_dump() {
  const auto abandon = [part = dump_part_] {
    DumpStore::abandon(part);
    return true;
  };
  context_.dump_files.run(abandon, [](bool) {});
}

void QemuRun::hold_again() {
  if (phase_ != Phase::stopped || discard_asked_ || !has_process()) return;
  process_->stop(context_.limits.fence_signal, [this](const Result<void>& held) {
    if (!held && has_process()) process_->kill([](const std::string&) {});
  });
}

}  // namespace understudy::qemu
