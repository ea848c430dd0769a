#pragma once
// Where 1.12 and later have several functions of one name, those of 1.10 are meant.
#define H5_USE_110_API
#include <hdf5.h>
// Where 1.14 keeps what drivers and kinds of links are made of.
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#include <H5Ldevelop.h>
#endif

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
  // What libhdf5 sees of it: from this byte on so many.
  haddr_t first_byte;
  haddr_t byte_count;
  haddr_t end_of_allocation;
  int descriptor;
} lockstep_descriptor_file;

// From 1.12 on these names are macros for one version of several.
typedef H5O_info_t lockstep_object_info;
typedef H5L_class_t lockstep_link_class;
static inline herr_t lockstep_iterate_links(
    hid_t location, const char *group, H5L_iterate_t visit, void *context) {
  return H5Literate_by_name(
      location, group, H5_INDEX_NAME, H5_ITER_INC, NULL, visit, context, H5P_DEFAULT);
}

// From 1.14 on a driver's table says for which libhdf5 it was made, and which driver it is: a
// number of those that are free for everybody's own use.
static inline void lockstep_number_driver(H5FD_class_t *table) {
#ifdef H5FD_CLASS_VERSION
  table->version = H5FD_CLASS_VERSION;
  table->value = H5_VFD_RESERVED;
#else
  (void)table;
#endif
}
