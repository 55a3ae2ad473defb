--- Completions while typing: Neovim 0.12's own ghost text; in 0.11 an item of the menu.
local config = require('glm_lsp.config')

local M = {}

local GHOST = vim.lsp.inline_completion -- nil before 0.12
local INLINE, POPUP = 'textDocument/inlineCompletion', 'textDocument/completion'
local MENU_MS = 200
--- The menu is asked for so long after the last key, as ghost text is.

---@class glm_lsp.Asked
---@field tick integer
---@field cursor [integer, integer]
---@field character? integer of the menu's requests: the column, in the client's units
local asked = {} ---@type table<integer, glm_lsp.Asked?> where a completion was last asked for, by buffer
local timers = {} ---@type table<integer, uv.uv_timer_t?>

local function here(bufnr)
  return { tick = vim.api.nvim_buf_get_changedtick(bufnr), cursor = vim.api.nvim_win_get_cursor(0) }
end

local function same_place(one, other)
  return one ~= nil and one.tick == other.tick and vim.deep_equal(one.cursor, other.cursor)
end

--- Whether somebody inserts at the place of the last request still.
local function still_there(bufnr)
  return bufnr == vim.api.nvim_get_current_buf()
    and vim.startswith(vim.api.nvim_get_mode().mode, 'i')
    and same_place(asked[bufnr], here(bufnr))
end

--- Ask again, as if the cursor had moved: only Neovim's own ghost text hears of it.
local function ask_for_ghost(bufnr)
  for _, found in ipairs(vim.api.nvim_get_autocmds({ event = 'CursorMovedI', buffer = bufnr })) do
    if (found.group_name or ''):find('inline_completion', 1, true) then
      vim.api.nvim_exec_autocmds('CursorMovedI', { buffer = bufnr, group = found.group })
      return
    end
  end
end

--- Show the menu, unless somebody is choosing from it.
local function ask_for_menu(bufnr)
  local chosen = vim.fn.complete_info({ 'selected' }).selected
  if not (vim.fn.pumvisible() == 1 and chosen ~= -1) then
    local client = vim.lsp.get_clients({ bufnr = bufnr, name = config.NAME })[1]
    if client then
      asked[bufnr] = here(bufnr)
      local before = vim.api.nvim_get_current_line():sub(1, asked[bufnr].cursor[2])
      asked[bufnr].character = vim.str_utfindex(before, client.offset_encoding)
      vim.lsp.completion.get()
    end
  end
end

--- Ask now.
function M.ask()
  local bufnr = vim.api.nvim_get_current_buf()
  if GHOST then
    ask_for_ghost(bufnr)
  else
    ask_for_menu(bufnr)
  end
end

--- `glm/inlineReady`: an answer has come after the request was answered without it.
function M.ready(_, params)
  local bufnr = vim.uri_to_bufnr(params.uri)
  if still_there(bufnr) then
    M.ask()
  end
end

-- Accepting

--- The rest of a completion at the cursor: what is typed already is not part of it.
---@return string? rest
local function rest_of(item)
  if type(item.insert_text) ~= 'string' then
    return nil
  end
  local row, column = unpack(vim.api.nvim_win_get_cursor(0))
  if not item.range then
    return item.insert_text
  end
  local start_row, start_column = item.range:to_extmark()
  local typed = start_row == row - 1 and vim.api.nvim_get_current_line():sub(start_column + 1, column)
  if typed and vim.startswith(item.insert_text, typed) then
    return item.insert_text:sub(#typed + 1)
  end
end

local function insert(text)
  local row, column = unpack(vim.api.nvim_win_get_cursor(0))
  local lines = vim.split(text, '\n')
  vim.api.nvim_buf_set_text(0, row - 1, column, row - 1, column, lines)
  vim.api.nvim_win_set_cursor(0, { row + #lines - 1, (#lines == 1 and column or 0) + #lines[#lines] })
end

--- Accept what `first` takes of the completion; false where none is shown.
---@param first fun(rest: string): string
local function accept_part(first)
  return GHOST ~= nil
    and GHOST.get({
      on_accept = function(item)
        local rest = rest_of(item)
        if not rest then
          return item
        end
        insert(first(rest))
        ask_for_ghost(vim.api.nvim_get_current_buf())
      end,
    })
end

--- Accept the completion that is shown; false where none is.
function M.accept()
  return GHOST ~= nil and GHOST.get()
end

--- Accept its next word, with the space before it, or what stands between two words.
function M.accept_word()
  return accept_part(function(rest)
    return rest:match('^%s*[%w_\128-\255]+') or rest:match('^%s*[^%s%w_\128-\255]+') or rest
  end)
end

--- Accept it up to the end of its line; at that end, the next line.
function M.accept_line()
  return accept_part(function(rest)
    return rest:match('^\n*[^\n]+') or rest
  end)
end

-- Attaching

local function map(bufnr, key, run, what)
  if not key or key == '' then
    return
  end
  vim.keymap.set('i', key, function()
    return run() and '' or key
  end, { buffer = bufnr, expr = true, desc = what })
end

--- What the menu inserts before an item is accepted: Neovim 0.11 would end at the first space.
local function first_line(item)
  local text = vim.tbl_get(item, 'textEdit', 'newText')
  return text and { word = text:match('^[^\n]*') } or {}
end

--- An item is accepted: its whole text, whatever of it the menu has inserted, and in the place of what it replaces
--- behind the cursor.
local function finish(client, bufnr)
  local taken = vim.tbl_get(vim.v.completed_item, 'user_data', 'nvim', 'lsp') or {}
  local edit = taken.client_id == client.id and vim.tbl_get(taken, 'completion_item', 'textEdit')
  if not edit or vim.v.event.reason ~= 'accept' then
    return
  end
  local row, column = unpack(vim.api.nvim_win_get_cursor(0))
  local line = vim.api.nvim_get_current_line()
  local start = vim.str_byteindex(line, client.offset_encoding, edit.range.start.character, false)
  local replaced = math.max(0, edit.range['end'].character - asked[bufnr].character)
  local stop = column + vim.str_byteindex(line:sub(column + 1), client.offset_encoding, replaced, false)
  local lines = vim.split(edit.newText, '\n')
  vim.api.nvim_buf_set_text(bufnr, row - 1, start, row - 1, stop, lines)
  vim.api.nvim_win_set_cursor(0, { row + #lines - 1, (#lines == 1 and start or 0) + #lines[#lines] })
end

--- In 0.11: ask for the menu a moment after the last key.
local function follow_typing(client, bufnr, group)
  local set = {} ---@type table<string, true>
  for _, option in ipairs(vim.split(vim.o.completeopt, ',', { trimempty = true })) do
    set[option] = true
  end
  -- With Neovim's default the first item would be inserted while somebody types, and a single one not shown.
  set.menu, set.menuone = nil, true
  set.noselect = not set.noinsert or nil
  vim.bo[bufnr].completeopt = table.concat(vim.tbl_keys(set), ',')
  vim.api.nvim_create_autocmd('CompleteDone', {
    group = group,
    buffer = bufnr,
    callback = function()
      finish(client, bufnr)
    end,
  })
  vim.api.nvim_create_autocmd({ 'TextChangedI', 'TextChangedP' }, {
    group = group,
    buffer = bufnr,
    callback = function()
      if not config.get().popup or not M.enabled(bufnr) then
        return
      end
      local timer = timers[bufnr] or assert(vim.uv.new_timer())
      timers[bufnr] = timer
      timer:start(MENU_MS, 0, vim.schedule_wrap(function()
        local inserting = vim.startswith(vim.api.nvim_get_mode().mode, 'i')
        -- The menu itself is a change of the text to Neovim: what was asked for is not asked for again.
        if inserting and vim.api.nvim_get_current_buf() == bufnr and not same_place(asked[bufnr], here(bufnr)) then
          ask_for_menu(bufnr)
        end
      end))
    end,
  })
end

--- Whether completions are on in a buffer.
function M.enabled(bufnr)
  return vim.b[bufnr].glm_lsp_off ~= true and not vim.tbl_contains(config.get().off, vim.bo[bufnr].filetype)
end

local function switch(client, bufnr, on)
  if GHOST and client:supports_method(INLINE, bufnr) then
    GHOST.enable(on, { bufnr = bufnr })
  elseif client:supports_method(POPUP, bufnr) then
    vim.lsp.completion.enable(on, client.id, bufnr, { convert = first_line })
  end
end

--- Show completions in a buffer.
function M.attach(client, bufnr)
  local group = vim.api.nvim_create_augroup('glm_lsp:' .. bufnr, { clear = true })
  vim.api.nvim_create_autocmd('LspRequest', {
    group = group,
    buffer = bufnr,
    callback = function(args)
      local request = args.data.request
      if request.type == 'pending' and request.method == INLINE and args.data.client_id == client.id then
        asked[bufnr] = bufnr == vim.api.nvim_get_current_buf() and here(bufnr) or nil
      end
    end,
  })
  vim.api.nvim_create_autocmd('LspDetach', {
    group = group,
    buffer = bufnr,
    callback = function(args)
      -- A server that died would be asked all the same, and the menu wait for its answer.
      if args.data.client_id == client.id then
        vim.lsp.completion.enable(false, client.id, bufnr)
      end
    end,
  })
  vim.api.nvim_create_autocmd('BufWipeout', {
    group = group,
    buffer = bufnr,
    callback = function()
      asked[bufnr] = nil
      if timers[bufnr] then
        timers[bufnr]:close()
        timers[bufnr] = nil
      end
    end,
  })
  local keys = config.get().keys
  if GHOST then
    map(bufnr, keys.accept, M.accept, 'Accept the completion')
    map(bufnr, keys.accept_word, M.accept_word, 'Accept the next word of the completion')
    map(bufnr, keys.accept_line, M.accept_line, 'Accept the next line of the completion')
  else
    follow_typing(client, bufnr, group)
  end
  map(bufnr, keys.ask, function()
    vim.schedule(M.ask)
    return true
  end, 'Ask for a completion')
  switch(client, bufnr, M.enabled(bufnr))
end

--- Turn completions of the current buffer on or off; returns what they are now.
---@return boolean
function M.toggle()
  local bufnr = vim.api.nvim_get_current_buf()
  vim.b[bufnr].glm_lsp_off = M.enabled(bufnr)
  for _, client in ipairs(vim.lsp.get_clients({ bufnr = bufnr, name = config.NAME })) do
    switch(client, bufnr, M.enabled(bufnr))
  end
  return M.enabled(bufnr)
end

return M
