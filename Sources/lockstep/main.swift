import Datasets
import HDF5

// A process that was started to do one thing never becomes the program.
StructureService.serveIfAsked()
TokenizerService.serveIfAsked()
CommandLineEntry.run(LockstepCommand.self)
