/** JMH benchmarks through the Java API. */
package org.ghostbatch.benchmarks;
