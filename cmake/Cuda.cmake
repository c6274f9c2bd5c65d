# libmigaki-cuda.so: the kernels of src/backend/cuda.  It links cuBLASLt and nothing of the program, which
# opens it at run time; without nvcc everything else is built just the same.
if(MIGAKI_CUDA STREQUAL "off" OR MIGAKI_SANITIZE OR MIGAKI_FUZZ)
  return()
endif()
# Before the language: CMake's own guess is older than what new compilers still make.
set(CMAKE_CUDA_ARCHITECTURES ${MIGAKI_CUDA_ARCHITECTURES})
include(CheckLanguage)
check_language(CUDA)
find_package(CUDAToolkit 11.8 QUIET)
if(NOT CMAKE_CUDA_COMPILER OR NOT CUDAToolkit_FOUND)
  if(MIGAKI_CUDA STREQUAL "on")
    message(FATAL_ERROR "MIGAKI_CUDA is on, but no CUDA compiler (nvcc) with its libraries was found")
  endif()
  message(STATUS "CUDA plugin: not built (no nvcc found)")
  return()
endif()
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)

file(GLOB cuda_sources CONFIGURE_DEPENDS src/backend/cuda/*.cu)
add_library(migaki_cuda MODULE ${cuda_sources})
set_target_properties(migaki_cuda PROPERTIES OUTPUT_NAME migaki-cuda CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
target_include_directories(migaki_cuda PRIVATE src)
target_compile_definitions(migaki_cuda PRIVATE MG_VERSION="${PROJECT_VERSION}")
target_link_libraries(migaki_cuda PRIVATE CUDA::cublasLt)
target_link_options(migaki_cuda PRIVATE LINKER:-z,defs) # what is missing must fail here, not at dlopen
install(TARGETS migaki_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/migaki)
message(STATUS "CUDA plugin: ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION} for ${MIGAKI_CUDA_ARCHITECTURES}")
