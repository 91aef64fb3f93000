// The road to NVIDIA's libraries, with stand-ins: where they are looked for, and a sentence for each that will not do.
#include <dlfcn.h>

#include <filesystem>
#include <fstream>

#include "cuda/cublaslt.h"
#include "cuda/cudnn.h"
#include "tests/support.h"

namespace ghostbatch::tests {
namespace {

namespace fs = std::filesystem;
using cuda::CublasLt;
using cuda::Cudnn;

const fs::path kFakes = GHOSTBATCH_FAKES;

class CudaLibraries : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "ghostbatch-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = fs::canonical(pattern);
  }
  void TearDown() override {
    unsetenv(cuda::kFolderVariable);
    fs::remove_all(folder_);
  }

  /// A copy of a stand-in at folder_/`to`: a library of its own to the loader.
  fs::path place(const std::string& fake, const std::string& to) {
    const fs::path path = folder_ / to;
    fs::create_directories(path.parent_path());
    fs::copy_file(kFakes / fake, path);
    return path;
  }

  fs::path folder_;
};

constexpr const char* kCudnnFile = "good/libcudnn.so.9";
constexpr const char* kCublasLtFile = "good/libcublasLt.so.13";

TEST_F(CudaLibraries, CudnnNamesItsVersionAndPlace) {
  const fs::path path = place(kCudnnFile, "libcudnn.so.9");
  EXPECT_EQ(Cudnn(folder_).description(), "cuDNN 9.19.0 (" + path.string() + ")");
}

TEST_F(CudaLibraries, CudnnThatIsNotThere) {
  expect_error([&] { Cudnn{folder_}; },
               "[cuda] needs cuDNN 9 (libcudnn.so.9), got none: no libcudnn.so.9 in or beside " + folder_.string() +
                   ": install it, as with pip install nvidia-cudnn-cu13, or "
                   "set GHOSTBATCH_CUDNN to its folder");
  expect_error(
      [&] { Cudnn{(folder_ / "none").string()}; },
      "[cuda] needs GHOSTBATCH_CUDNN to be a folder with libcudnn.so.9, got \"" + folder_.string() + "/none\"");
}

TEST_F(CudaLibraries, CudnnThatTheLoaderDoesNotKnow) {
  if (void* const there = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL); there != nullptr) {
    dlclose(there);
    GTEST_SKIP() << "there is a cuDNN";
  }
  expect_error([] { Cudnn{""}; }, "[cuda] needs cuDNN 9 (libcudnn.so.9), got none: libcudnn.so.9: cannot open");
}

TEST_F(CudaLibraries, CudnnThatIsNoLibrary) {
  std::ofstream(folder_ / "libcudnn.so.9") << "a page that says: 404, not found, but more than an ELF header is long\n";
  expect_error([&] { Cudnn{folder_}; }, "got none: " + (folder_ / "libcudnn.so.9").string() + ": ");
}

TEST_F(CudaLibraries, CudnnOfAnotherMajorVersion) {
  const fs::path path = place("old/libcudnn.so.9", "libcudnn.so.9");
  expect_error([&] { Cudnn{folder_}; },
               "[cuda] needs cuDNN 9 (libcudnn.so.9), got version 8.9.7 in " + path.string() + ": install it");
}

TEST_F(CudaLibraries, CudnnThatLacksAFunction) {
  const fs::path path = place("partial/libcudnn.so.9", "libcudnn.so.9");
  expect_error([&] { Cudnn{folder_}; }, "got " + path.string() + " without cudnnBackendExecute: ");
}

TEST_F(CudaLibraries, CublasLtNamesItsVersionAndPlace) {
  const fs::path path = place(kCublasLtFile, "libcublasLt.so.13");
  EXPECT_EQ(CublasLt(folder_, 13).description(), "cuBLASLt 13.1.0 (" + path.string() + ")");
}

TEST_F(CudaLibraries, CublasLtThatWillNotDo) {
  place(kCublasLtFile, "libcublasLt.so.12");
  expect_error([&] { CublasLt(folder_, 12); }, "[cuda] needs cuBLASLt 12 (libcublasLt.so.12), got version 13.1.0 in ");
  // Not in the folder, nor, a version that never was, where the loader looks.
  expect_error([&] { CublasLt(folder_, 99); },
               "[cuda] needs cuBLASLt 99 (libcublasLt.so.99), got none: libcublasLt.so.99: cannot open");
}

TEST_F(CudaLibraries, AreFoundInBothLayoutsOfPip) {
  place(kCudnnFile, "site-packages/nvidia/cudnn/lib/libcudnn.so.9");
  const fs::path of_13 = place(kCublasLtFile, "site-packages/nvidia/cu13/lib/libcublasLt.so.13");
  for (const char* start : {"site-packages", "site-packages/nvidia", "site-packages/nvidia/cudnn",
                            "site-packages/nvidia/cudnn/lib", "site-packages/nvidia/cudnn/lib/"}) {
    SCOPED_TRACE(start);
    const std::string folder = (folder_ / start).string();
    EXPECT_NE(Cudnn(folder).description().find("site-packages/nvidia/cudnn/lib/libcudnn.so.9"), std::string::npos);
    EXPECT_NE(CublasLt(folder, 13).description().find(of_13.string()), std::string::npos);
  }
  fs::remove_all(folder_ / "site-packages/nvidia/cu13");
  const fs::path apart = place(kCublasLtFile, "site-packages/nvidia/cublas/lib/libcublasLt.so.13");
  EXPECT_NE(CublasLt(folder_ / "site-packages", 13).description().find(apart.string()), std::string::npos);
}

TEST_F(CudaLibraries, AreFoundInLibOfATarball) {
  place(kCudnnFile, "cudnn-linux-x86_64-9.19.0/lib/libcudnn.so.9");
  EXPECT_NE(Cudnn(folder_ / "cudnn-linux-x86_64-9.19.0").description().find("/lib/libcudnn.so.9)"), std::string::npos);
}

TEST_F(CudaLibraries, OpensWhatCudnnWillAskForFirst) {
  place(kCudnnFile, "nvidia/cudnn/lib/libcudnn.so.9");
  std::vector<fs::path> dependencies;
  for (const char* name :
       {"cudnn/lib/libcudnn_graph.so.9", "cudnn/lib/libcudnn_engines_runtime_compiled.so.9", "cu13/lib/libnvrtc.so.13",
        "cu13/lib/libnvrtc-builtins.so.13.0", "cu13/lib/libcublas.so.13"}) {
    dependencies.push_back(place(kCublasLtFile, std::string("nvidia/") + name));
  }
  const fs::path other = place(kCublasLtFile, "nvidia/cu13/lib/libcufft.so.13");
  std::ofstream(folder_ / "nvidia/cudnn/lib/libcudnn_ops.so.9") << "left out: not a library, and nobody asks\n";
  const auto is_open = [](const fs::path& path) { return dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD) != nullptr; };
  for (const fs::path& path : dependencies) EXPECT_FALSE(is_open(path)) << path;
  Cudnn{(folder_ / "nvidia").string()};
  for (const fs::path& path : dependencies) EXPECT_TRUE(is_open(path)) << path;
  EXPECT_FALSE(is_open(other));
}

TEST_F(CudaLibraries, OfTheProcessAreAskedForAgainUntilTheyAreThere) {
  setenv(cuda::kFolderVariable, folder_.c_str(), 1);
  for (int i = 0; i < 2; ++i) {
    expect_error([] { Cudnn::of_process(); }, "no libcudnn.so.9 in or beside");
    expect_error([] { CublasLt::of_process(99); }, "needs cuBLASLt 99");
  }
  place(kCudnnFile, "libcudnn.so.9");
  place(kCublasLtFile, "libcublasLt.so.13");
  const Cudnn& cudnn = Cudnn::of_process();
  const CublasLt& cublaslt = CublasLt::of_process(13);
  unsetenv(cuda::kFolderVariable);
  EXPECT_EQ(&Cudnn::of_process(), &cudnn);
  EXPECT_EQ(&CublasLt::of_process(13), &cublaslt);
}

TEST_F(CudaLibraries, AreNamedByTheDescriptionOfTheBackend) {
  void* const library = dlopen("libghostbatch_cuda.so", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) GTEST_SKIP() << "built without CUDA";
  const auto describe = reinterpret_cast<int32_t (*)(char*, size_t)>(dlsym(library, "ghostbatch_cuda_describe"));
  ASSERT_NE(describe, nullptr);
  char text[4096] = "";
  setenv(cuda::kFolderVariable, folder_.c_str(), 1);
  describe(text, sizeof text);
  EXPECT_NE(std::string(text).find("\n[cuda] needs cuDNN 9 (libcudnn.so.9), got none: "), std::string::npos) << text;
  place(kCudnnFile, "libcudnn.so.9");
  for (const char* major : {"12", "13"}) {  // one of them is the runtime's, and refused where its version is not
    place(kCublasLtFile, std::string("libcublasLt.so.") + major);
  }
  describe(text, sizeof text);
  EXPECT_NE(std::string(text).find("\ncuDNN 9.19.0 (" + folder_.string()), std::string::npos) << text;
  EXPECT_NE(std::string(text).find("13.1.0"), std::string::npos) << text;
}

}  // namespace
}  // namespace ghostbatch::tests
