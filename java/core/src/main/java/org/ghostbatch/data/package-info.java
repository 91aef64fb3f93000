/**
 * Labelled images and where they come from: own arrays and buffers, the embedded strokes, MNIST and
 * CIFAR files.
 */
package org.ghostbatch.data;
