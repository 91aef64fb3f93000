// NVIDIA's libraries, opened at run time: neither building nor loading this backend needs them, and what is missing
// becomes one sentence.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/runtime.h"

namespace ghostbatch::cuda {

constexpr int64_t kLibraryAlignment = 16;  // bytes, of every tensor that a library is given

/// The variable that points to NVIDIA's libraries where the loader does not know them.
constexpr const char* kFolderVariable = "GHOSTBATCH_CUDNN";

/// A shared library that is wanted: for error texts, and where to look.
struct LibraryName {
  std::string what;  // "cuDNN 9"
  std::string file;  // "libcudnn.so.9"
  std::string hint;  // how to come by it
};

/// A shared library with its functions. Never closed: its handles and kernels live as long as the process likes.
class Library {
 public:
  /// Opens `name.file` from the first of `folders` that has it; an empty folder is where the loader looks. Error
  /// "[cuda] needs cuDNN 9 (libcudnn.so.9), got ...: ..." where there is none.
  Library(const LibraryName& name, const std::vector<std::string>& folders);

  /// Sets `function` to the function of that name; Error where the library has none.
  template <typename Function>
  void find(const char* name, Function*& function) const {
    function = reinterpret_cast<Function*>(address_of(name));
  }

  /// Error as above, for a library that was found, but is not the one that is wanted.
  [[noreturn]] void refuse(const std::string& got) const;

  /// The file, as the loader found it.
  const std::string& path() const { return path_; }

 private:
  void* address_of(const char* function) const;

  LibraryName name_;
  void* handle_ = nullptr;
  std::string path_;
};

/// The value of GHOSTBATCH_CUDNN, empty where it is not set.
std::string wanted_folder();

/// The folders to look in for NVIDIA's libraries where `folder` is, holds or lies beside one that has some: itself, its
/// lib and lib64, and those of both layouts of pip (nvidia/cu13/lib; nvidia/cudnn/lib and nvidia/cublas/lib), for a
/// `folder` that is site-packages, nvidia, nvidia/cudnn or nvidia/cudnn/lib. Only those that exist. An empty `folder`
/// stands for itself; Error where there is no such folder.
std::vector<std::string> library_folders(const std::string& folder);

/// Opens the files of these names that lie in `folders`, in this order, so that libraries which ask for them by name
/// find them; a name that ends in '*' stands for all that begin so. What is not there, or cannot be opened, is left
/// out: who needs it says so.
void open_all(const std::vector<std::string>& names, const std::vector<std::string>& folders);

}  // namespace ghostbatch::cuda
