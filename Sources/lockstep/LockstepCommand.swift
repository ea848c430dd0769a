import ArgumentParser
import Core

/// `lockstep`: one file a subcommand.
struct LockstepCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lockstep",
    abstract: "Trains Transformers over MPI ranks, the same to the last bit on any number of them.",
    discussion: """
      A first run, from text to translations:
        lockstep prepare --preset ddtp-en-de --vocabulary 4000 --out data/quickstart
        mpirun -np 2 lockstep train configs/quickstart.yaml --run runs/quickstart
        echo "a small text editor" | lockstep translate --checkpoint runs/quickstart

      Exit codes: 0 done, 1 inspect --diff found a difference, 64 usage, \
      65 bad data, 66 missing input, 69 a program or host is missing, \
      70 internal error, 73 and 74 cannot write, 75 stopped on request \
      (run the same command again), 76 ranks out of lockstep, \
      78 configuration, 79 no supervisor is left, 80 diverged.
      """,
    version: lockstepVersion,
    subcommands: [
      PrepareCommand.self, TrainCommand.self, LaunchCommand.self, EvaluateCommand.self,
      TranslateCommand.self,
      AverageCommand.self, InspectCommand.self, BenchCommand.self, LifelineCommand.self,
      ReapCommand.self, CoresCommand.self,
    ])
}
