// The road to the CUDA backend: every way in which it is not to be had is an Error with its reason, never a crash.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "ghostbatch/plugin.h"

namespace ghostbatch {
namespace {

class CudaPluginTest : public testing::Test {
 protected:
  void SetUp() override {
    library_ = dlopen("libghostbatch_cuda.so", RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) GTEST_SKIP() << "built without CUDA";
    make_ = reinterpret_cast<PluginFactory>(dlsym(library_, "ghostbatch_device"));
    describe_ = reinterpret_cast<int32_t (*)(char*, size_t)>(dlsym(library_, "ghostbatch_cuda_describe"));
    ASSERT_NE(make_, nullptr);
    ASSERT_NE(describe_, nullptr);
  }
  void TearDown() override {
    if (library_ != nullptr) dlclose(library_);
  }

  void* library_ = nullptr;
  PluginFactory make_ = nullptr;
  int32_t (*describe_)(char*, size_t) = nullptr;
};

TEST(CudaDevice, NotToBeHadIsAnErrorWithTheReason) {
  for (const char* name : {"cuda", "cuda:0", "cuda:4096", "cuda,tf32", "cuda:1,tf32", "cuda,autotune",
                           "cuda:0,tf32,autotune"}) {
    try {
      Device::create(name)->destroy();
      GTEST_SKIP() << "there is a CUDA device";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("[cuda] needs "), 0u) << error.what();
      EXPECT_NE(std::string(error.what()).find(", got "), std::string::npos) << error.what();
    }
  }
}

TEST_F(CudaPluginTest, RefusesAnotherAbi) {
  char error[256] = "";
  EXPECT_EQ(make_(kPluginAbi + 1, 0, 0, 0, error, sizeof error), nullptr);
  EXPECT_NE(std::string(error).find("ABI " + std::to_string(kPluginAbi + 1)), std::string::npos) << error;
}

TEST_F(CudaPluginTest, RefusesDevicesThatAreNotThere) {
  for (int32_t ordinal : {-1, 4096}) {
    char error[256] = "";
    EXPECT_EQ(make_(kPluginAbi, ordinal, 1, 1, error, sizeof error), nullptr);
    EXPECT_EQ(std::string(error).find("[cuda] needs "), 0u) << error;
  }
}

TEST_F(CudaPluginTest, WritesNoMoreThanItMay) {
  char text[32];
  std::memset(text, '#', sizeof text);
  make_(kPluginAbi + 1, 0, 0, 0, text, 10);
  EXPECT_EQ(std::string(text), "[cuda] ne");
  EXPECT_EQ(text[10], '#');
  make_(kPluginAbi, 0, 0, 0, nullptr, 0);
  std::memset(text, '#', sizeof text);
  EXPECT_GE(describe_(text, 10), 0);
  EXPECT_EQ(text[9], '\0');
  EXPECT_EQ(text[10], '#');
}

}  // namespace
}  // namespace ghostbatch
