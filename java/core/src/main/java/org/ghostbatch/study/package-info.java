/**
 * Studies: the same network trained in several ways over several seeds, and a table of what
 * differed.
 */
package org.ghostbatch.study;
