# cmake -DSOURCE=DIR -DOUT=FILE -P commit.cmake: writes a header with the commit that DIR is at as BERTH_COMMIT, with
# "-dirty" behind it when the sources differ from it, empty outside git. A header that is right is not touched.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND git describe --always --abbrev=40 --dirty --exclude * WORKING_DIRECTORY ${SOURCE}
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit "")
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#define BERTH_COMMIT \"@commit@\"\n" @ONLY)
