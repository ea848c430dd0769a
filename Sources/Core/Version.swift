/// The version of Lockstep, as `--version` prints and checkpoints record it.
package let lockstepVersion = "0.1.0"
