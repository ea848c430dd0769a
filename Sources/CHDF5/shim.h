#pragma once
#include <hdf5.h>

// HDF5's constants are macros that initialise the library when they are evaluated, so they do not
// import into Swift; these functions do.

static inline hid_t lockstep_std_i8(void) { return H5T_STD_I8LE; }
static inline hid_t lockstep_std_u8(void) { return H5T_STD_U8LE; }
static inline hid_t lockstep_std_i16(void) { return H5T_STD_I16LE; }
static inline hid_t lockstep_std_u16(void) { return H5T_STD_U16LE; }
static inline hid_t lockstep_std_i32(void) { return H5T_STD_I32LE; }
static inline hid_t lockstep_std_u32(void) { return H5T_STD_U32LE; }
static inline hid_t lockstep_std_i64(void) { return H5T_STD_I64LE; }
static inline hid_t lockstep_std_u64(void) { return H5T_STD_U64LE; }
static inline hid_t lockstep_ieee_f32(void) { return H5T_IEEE_F32LE; }
static inline hid_t lockstep_ieee_f64(void) { return H5T_IEEE_F64LE; }
static inline hid_t lockstep_object_reference(void) { return H5T_STD_REF_OBJ; }
static inline hid_t lockstep_c_s1(void) { return H5T_C_S1; }
static inline size_t lockstep_variable_size(void) { return H5T_VARIABLE; }

static inline hid_t lockstep_file_create(void) { return H5P_FILE_CREATE; }
static inline hid_t lockstep_file_access(void) { return H5P_FILE_ACCESS; }
static inline hid_t lockstep_dataset_create(void) { return H5P_DATASET_CREATE; }
static inline hid_t lockstep_link_create(void) { return H5P_LINK_CREATE; }
static inline hid_t lockstep_default(void) { return H5P_DEFAULT; }
static inline hid_t lockstep_all(void) { return H5S_ALL; }
static inline hid_t lockstep_error_stack(void) { return H5E_DEFAULT; }

static inline unsigned lockstep_read_only(void) { return H5F_ACC_RDONLY; }
static inline unsigned lockstep_truncate(void) { return H5F_ACC_TRUNC; }
static inline haddr_t lockstep_no_address(void) { return HADDR_UNDEF; }

// A file that is reached through a descriptor somebody else has opened.
typedef struct {
  H5FD_t base;
  haddr_t byte_count;
  haddr_t end_of_allocation;
  int descriptor;
} lockstep_descriptor_file;

