#include "config/image_look.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace understudy::config {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using Found = GuestTree::Found;

class ImageLook : public testing::Test {
 protected:
  ImageLook() : base_(fs::path(testing::TempDir()) / fmt::format("image-look-{}", ::getpid())) {
    fs::create_directories(base_);
  }
  ~ImageLook() override { fs::remove_all(base_); }

  fs::path file(const std::string& name, const std::string& bytes) const {
    std::ofstream(base_ / name, std::ios::binary) << bytes;
    return base_ / name;
  }

  static std::string cpio(const std::string& name, unsigned mode, const std::string& data) {
    std::string entry =
        fmt::format("070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}", 1,
                    mode, 0, 0, 1, 0, data.size(), 0, 0, 0, 0, name.size() + 1, 0);
    entry += name + '\0';
    entry.resize((entry.size() + 3) / 4 * 4);
    entry += data;
    entry.resize((entry.size() + 3) / 4 * 4);
    return entry;
  }

  fs::path initramfs() const {
    return file("initramfs.cpio", cpio("bin", 0040755, "") + cpio("bin/busybox", 0100755, "x") +
                                      cpio("bin/sh", 0120777, "busybox") + cpio("sbin", 0120777, "bin") +
                                      cpio("usr", 0120777, "/apps/usr") + cpio("srv", 0120777, "/apps/srv") +
                                      cpio("loop", 0120777, "/loop") + cpio("etc", 0040755, "") +
                                      cpio("etc/passwd", 0100644, "root") + cpio("TRAILER!!!", 0, ""));
  }

  // With a program, a link to it, and a file that is no program.
  fs::path disk() const {
    const fs::path tree = base_ / "tree";
    fs::create_directories(tree / "usr/bin");
    std::ofstream(tree / "usr/bin/redis-check-rdb") << "x";
    fs::permissions(tree / "usr/bin/redis-check-rdb", fs::perms(0755));
    fs::create_symlink("redis-check-rdb", tree / "usr/bin/redis-server");
    std::ofstream(tree / "usr/bin/readme") << "x";
    fs::permissions(tree / "usr/bin/readme", fs::perms(0644));
    const fs::path image = base_ / "apps.squashfs";
    const std::string command =
        "mksquashfs " + tree.string() + " " + image.string() + " -quiet -no-progress >/dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0) << "squashfs-tools are needed (tools/install-deps)";
    return image;
  }

  fs::path base_;
};

TEST_F(ImageLook, AFileIsWhatItsFirstBytesSay) {
  EXPECT_EQ(why_not_image(file("k",
                               "\x7f"
                               "ELF and more"),
                          ImageKind::kernel),
            "");
  EXPECT_EQ(why_not_image(file("k", std::string(0x202, '\0') + "HdrS"), ImageKind::kernel), "");
  EXPECT_EQ(why_not_image(initramfs(), ImageKind::initramfs), "");
  EXPECT_EQ(why_not_image(file("i", "\x1f\x8b gzip"), ImageKind::initramfs), "");
  EXPECT_EQ(why_not_image(file("d", "hsqs"), ImageKind::disk), "");
  for (const ImageKind kind : {ImageKind::kernel, ImageKind::initramfs, ImageKind::disk}) {
    EXPECT_THAT(why_not_image(file("t", "a text"), kind), HasSubstr("61207465"));
    EXPECT_THAT(why_not_image(file("t", ""), kind), HasSubstr("it is empty"));
  }
}

TEST_F(ImageLook, ProgramsAreFoundAsTheGuestFindsThem) {
  const GuestTree tree = GuestTree::of({base_ / "no-kernel", initramfs(), disk()});
  EXPECT_THAT(tree.not_looked_into(), IsEmpty());
  EXPECT_EQ(tree.program("/usr/bin/redis-server"), Found::yes);
  EXPECT_EQ(tree.program("/usr/../usr/bin//redis-server"), Found::yes);
  EXPECT_EQ(tree.program("/apps/usr/bin/redis-server"), Found::yes);
  EXPECT_EQ(tree.program("/bin/sh"), Found::yes);
  EXPECT_EQ(tree.program("/sbin/busybox"), Found::yes);
  EXPECT_EQ(tree.program("/usr/bin/redis-sever"), Found::no);
  EXPECT_EQ(tree.program("/usr/bin"), Found::no);
  EXPECT_EQ(tree.program("/srv/web"), Found::no);
  EXPECT_EQ(tree.program("/loop/web"), Found::no);
  EXPECT_EQ(tree.program("/usr/bin/readme"), Found::not_executable);
  EXPECT_EQ(tree.program("/etc/passwd"), Found::not_executable);
  EXPECT_EQ(tree.program("/tmp/made-by-prepare"), Found::unknown);
  EXPECT_THAT(tree.siblings("/usr/bin/redis-sever"), Contains("/usr/bin/redis-server"));
}

TEST_F(ImageLook, WhatCannotBeLookedIntoIsSaid) {
  const GuestTree tree =
      GuestTree::of({base_ / "no-kernel", file("i", "\x1f\x8b gzip"), file("d", "hsqs, and no more")});
  EXPECT_EQ(tree.program("/usr/bin/redis-server"), Found::unknown);
  EXPECT_THAT(tree.not_looked_into(), Contains(HasSubstr("/i was not looked into")));
  EXPECT_THAT(tree.not_looked_into(), Contains(HasSubstr("/d was not looked into")));
}

TEST_F(ImageLook, ADamagedArchiveIsNoReasonToRead) {
  std::string bytes = cpio("bin", 0040755, "");
  bytes.replace(6 + 8 * 11, 8, "ffffffff");  // a name of 4 GiB
  const GuestTree tree = GuestTree::of({base_ / "k", file("i", bytes), base_ / "none"});
  EXPECT_THAT(tree.not_looked_into(), Contains(HasSubstr("/i was not looked into")));
}

}  // namespace
}  // namespace understudy::config
