package org.ghostbatch.device;

/**
 * C [m,n] = alpha op(A) op(B) + beta C, + bias [n], then max(0, .) where {@code relu}; row-major.
 * op(A) is [m,k]: A is stored [m,k], or [k,m] if transposed; op(B) is [k,n]: B [k,n], or [n,k].
 */
public record GemmSpec(
    int m,
    int n,
    int k,
    boolean transposeA,
    boolean transposeB,
    double alpha,
    double beta,
    boolean bias,
    boolean relu,
    DataType type) {
  private static final String KIND = "gemm";

  public GemmSpec {
    Check.positive(KIND, "m", m);
    Check.positive(KIND, "n", n);
    Check.positive(KIND, "k", k);
    Check.finite(KIND, "alpha", alpha);
    Check.finite(KIND, "beta", beta);
    Check.activation(KIND, type);
    Check.product(KIND, "A", m, k, 1, 1);
    Check.product(KIND, "B", k, n, 1, 1);
    Check.product(KIND, "C", m, n, 1, 1);
  }

  /** f32, nothing transposed, alpha 1, beta 0, no bias, no ReLU. */
  public static GemmSpec of(int m, int n, int k) {
    return new GemmSpec(m, n, k, false, false, 1, 0, false, false, DataType.F32);
  }

  public GemmSpec withTranspose(boolean a, boolean b) {
    return new GemmSpec(m, n, k, a, b, alpha, beta, bias, relu, type);
  }

  public GemmSpec withScale(double alpha, double beta) {
    return new GemmSpec(m, n, k, transposeA, transposeB, alpha, beta, bias, relu, type);
  }

  public GemmSpec withBias(boolean bias) {
    return new GemmSpec(m, n, k, transposeA, transposeB, alpha, beta, bias, relu, type);
  }

  public GemmSpec withRelu(boolean relu) {
    return new GemmSpec(m, n, k, transposeA, transposeB, alpha, beta, bias, relu, type);
  }

  public GemmSpec withType(DataType type) {
    return new GemmSpec(m, n, k, transposeA, transposeB, alpha, beta, bias, relu, type);
  }

  /** Multiply-adds times two. */
  public double flops() {
    return 2.0 * m * n * k;
  }

  /** The native spec; to be closed after use. */
  org.ghostbatch.binding.GemmSpec toBinding() {
    return new org.ghostbatch.binding.GemmSpec()
        .m(m)
        .n(n)
        .k(k)
        .transpose_a(transposeA)
        .transpose_b(transposeB)
        .alpha(alpha)
        .beta(beta)
        .bias(bias)
        .relu(relu)
        .type(type.binding);
  }
}
