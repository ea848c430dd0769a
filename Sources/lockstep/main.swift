CommandLineEntry.run(LockstepCommand.self)
