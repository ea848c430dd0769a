import HDF5

// A process that was started to look into a file never becomes the program.
StructureService.serveIfAsked()
CommandLineEntry.run(LockstepCommand.self)
