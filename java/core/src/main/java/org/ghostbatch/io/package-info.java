/**
 * File formats that the library reads and writes itself, so that it depends on nothing else: JSON
 * and safetensors.
 */
package org.ghostbatch.io;
