// OpenMPI's handles are macros that Swift cannot import; these functions give them their names
// back.
#pragma once
#include <mpi.h>

static inline MPI_Comm lockstep_mpi_comm_world(void) { return MPI_COMM_WORLD; }
static inline MPI_Comm lockstep_mpi_comm_null(void) { return MPI_COMM_NULL; }
static inline MPI_Info lockstep_mpi_info_null(void) { return MPI_INFO_NULL; }
static inline void *lockstep_mpi_in_place(void) { return MPI_IN_PLACE; }
static inline MPI_Datatype lockstep_mpi_byte(void) { return MPI_BYTE; }
static inline MPI_Datatype lockstep_mpi_float(void) { return MPI_FLOAT; }
static inline MPI_Datatype lockstep_mpi_uint64(void) { return MPI_UINT64_T; }
static inline MPI_Datatype lockstep_mpi_int64(void) { return MPI_INT64_T; }
static inline MPI_Datatype lockstep_mpi_int32(void) { return MPI_INT32_T; }
static inline MPI_Op lockstep_mpi_bor(void) { return MPI_BOR; }
static inline MPI_Op lockstep_mpi_sum(void) { return MPI_SUM; }
static inline MPI_Errhandler lockstep_mpi_errors_return(void) { return MPI_ERRORS_RETURN; }
static inline MPI_Status *lockstep_mpi_status_ignore(void) { return MPI_STATUS_IGNORE; }
static inline int lockstep_mpi_errors_in_status(void) { return MPI_ERR_IN_STATUS; }
static inline int lockstep_mpi_pending(void) { return MPI_ERR_PENDING; }
