# What ci/gpu-pack and ci/gpu-verify know of the sources: hashes that tell whether something was made of these.

# hash_of ROOT PATH...: of the names and contents of all files in these paths; no git, which a copied tree may lack.
hash_of() (
  cd "$1"
  find "${@:2}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
)

# What the pack's jars are made of: natives are built anew on the GPU's machine, but for the binding.
pack_hash() {
  hash_of "$1" pom.xml java/{core,cli}/{pom.xml,src/main} benchmarks/src/main native/include
}

# All that a stage's outcome depends on.
verify_hash() {
  hash_of "$1" pom.xml CMakeLists.txt CMakePresets.json native java/{core,cli}/{pom.xml,src/main} \
    benchmarks/{src/main,run,peers/pytorch_step.py} ci/gpu-{sources.sh,verify,losses,accuracy,data}
}
