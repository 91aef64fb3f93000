#include "cuda/library.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "common/check.h"

namespace ghostbatch::cuda {
namespace {

namespace fs = std::filesystem;

std::string reason_of_the_loader() {
  const char* const reason = dlerror();
  return reason != nullptr ? reason : "no reason given";
}

void* open(const std::string& path) {
  return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
}

/// Files in `folder` that `name` stands for, sorted; an empty folder leaves the name to the loader.
std::vector<std::string> matching(const std::string& folder, const std::string& name) {
  if (folder.empty()) return {name};
  std::error_code error;
  std::vector<std::string> paths;
  if (name.back() != '*') {
    const fs::path path = fs::path(folder) / name;
    if (fs::exists(path, error)) paths.push_back(path.string());
    return paths;
  }
  const std::string start = name.substr(0, name.size() - 1);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().filename().string().rfind(start, 0) == 0) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

Library::Library(const LibraryName& name, const std::vector<std::string>& folders) : name_(name) {
  std::string reasons;
  for (const std::string& folder : folders) {
    for (const std::string& path : matching(folder, name.file)) {
      handle_ = open(path);
      if (handle_ == nullptr) reasons += (reasons.empty() ? "" : "; ") + reason_of_the_loader();
    }
    if (handle_ != nullptr) break;
  }
  if (handle_ == nullptr) {
    if (reasons.empty()) reasons = text("no ", name.file, " in or beside ", folders.front());
    refuse(text("none: ", reasons));
  }
  path_ = name.file;
  link_map* map = nullptr;
  if (dlinfo(handle_, RTLD_DI_LINKMAP, &map) == 0 && map->l_name[0] != 0) path_ = map->l_name;
}

void* Library::address_of(const char* function) const {
  void* const address = dlsym(handle_, function);
  if (address == nullptr) refuse(text(path_, " without ", function));
  return address;
}

void Library::refuse(const std::string& got) const {
  throw Error(text("[cuda] needs ", name_.what, " (", name_.file, "), got ", got, ": ", name_.hint, ", or set ",
                   kFolderVariable, " to its folder"));
}

std::string wanted_folder() {
  const char* const folder = std::getenv(kFolderVariable);
  return folder != nullptr ? folder : "";
}

std::vector<std::string> library_folders(const std::string& folder) {
  if (folder.empty()) return {folder};
  std::vector<std::string> found;
  std::error_code error;
  const fs::path wanted(folder);
  if (!fs::is_directory(wanted, error)) {
    fail("cuda", text(kFolderVariable, " to be a folder with libcudnn.so.9"), text("\"", folder, "\""));
  }
  std::vector<fs::path> candidates{wanted, wanted / "lib", wanted / "lib64"};
  for (const fs::path& nvidia : {wanted / "nvidia", wanted, wanted / "..", wanted / ".." / ".."}) {
    for (const char* part : {"cudnn", "cu13", "cublas", "cuda_nvrtc"}) candidates.push_back(nvidia / part / "lib");
  }
  for (const fs::path& candidate : candidates) {
    const fs::path real = fs::canonical(candidate, error);
    if (error || !fs::is_directory(real, error)) continue;
    if (std::find(found.begin(), found.end(), real.string()) == found.end()) found.push_back(real.string());
  }
  return found;
}

void open_all(const std::vector<std::string>& names, const std::vector<std::string>& folders) {
  for (const std::string& name : names) {
    for (const std::string& folder : folders) {
      if (folder.empty()) continue;  // the loader finds them as well when they are asked for
      for (const std::string& path : matching(folder, name)) open(path);
    }
  }
}

}  // namespace ghostbatch::cuda
