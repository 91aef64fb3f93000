/**
 * File formats that the library reads and writes itself, so that it depends on nothing else: JSON,
 * safetensors, TensorBoard's events; and how files are written and hashed.
 */
package org.ghostbatch.io;
