# How processes with libtorch run, for the scripts beside.

# libtorch_environment THREADS [defaults]: libtorch at its best, threads that wait a moment before they sleep, and memory
# that is kept and lies in huge pages. With "defaults", memory is as libtorch and the C library leave it.
libtorch_environment() {
  export OMP_NUM_THREADS=$1 GOMP_SPINCOUNT=10000 OPENBLAS_THREAD_TIMEOUT=4
  if [[ ${2:-} != defaults ]]; then
    export THP_MEM_ALLOC_ENABLE=1
    export GLIBC_TUNABLES=glibc.malloc.mmap_threshold=34359738368:glibc.malloc.trim_threshold=34359738368:glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1
  fi
}

# peers_java ROOT CLASS ARGUMENT...: of what profile peers has built. JavaCPP's own limits of native memory are meant for
# other programs.
peers_java() {
  "${JAVA_HOME:+$JAVA_HOME/bin/}java" --enable-native-access=ALL-UNNAMED -XX:+UseSerialGC -Xmx1g \
    -Dorg.bytedeco.javacpp.maxbytes=0 -Dorg.bytedeco.javacpp.maxphysicalbytes=0 \
    -cp "$1/benchmarks/target/peers/classes:$(<"$1/benchmarks/target/peers/class-path.txt")" \
    "org.ghostbatch.benchmarks.peers.$2" "${@:3}"
}
