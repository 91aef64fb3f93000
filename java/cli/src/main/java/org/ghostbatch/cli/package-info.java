/** The {@code ghostbatch} command: flags, progress and tables. Nothing else knows a terminal. */
package org.ghostbatch.cli;
