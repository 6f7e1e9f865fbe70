"""Pages that show a project, live: on the Dask dashboard of a run, or served alone.

==================  =================================================================
`feed`              what all pages show, looked at once for all of them
`status_files`      the states that a run leaves, read where they changed
`which_project`     whether another project has taken the place of one that is shown
`recent`            the attempts of the recent past
`questions`         what needs the journal or pixels, answered in other threads
`hub`               the projects that pages can show
`serving`           the pages on a Dask scheduler, and on a server of their own
`origins`           from which addresses pages may be used
`control_token`     the secret that control asks for
`page`              what every page has: its frame, its place in the navigation, its updates
`look`              colours, fonts, light and dark
`overview` ...      the pages themselves: `overview`, `tile_page`, `failures_page`, `work_page`,
                    `control_page`
`tile_facts` ...    what pages tell, without HTML: `tile_facts`, `tile_pictures`, `failure_tally`,
                    `failure_groups`, `work_data`, `control_actions`
`control_memory`    the token in a browser's tab
`naming`            which unit or region is meant by what was typed
`parts`, `figures`  bits of HTML, and figures in the pages' look
`changing_data`     only what changed in a figure is sent
`map_page`          the lattice map: `map_scene` what is shown, `map_painting` from states to
                    images, `map_combined` all stages at once, `map_figure` in the browser
==================  =================================================================

::

    status arrays, journal --ProjectFeed--> Snapshot --Page.update--> what changed --> browser
    a click --------------> Questions.ask / .change (threads) ------> answer ------> browser
"""
